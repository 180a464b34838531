import Foundation
import Testing

@testable import CrypRQTunnelKit

/// Packets between a fake interface and a fake daemon.
struct PumpTests {
    private final class Sink: PacketSink {
        private let frames = Locked<[Data]>([])
        private let gate = DispatchSemaphore(value: 0)
        private let waits: Bool

        init(waits: Bool = false) { self.waits = waits }

        var packets: [Data] {
            get throws { try frames.with(\.self).flatMap { try $0.withUnsafeBytes { try Wire.packets($0) } } }
        }
        var count: Int { frames.with(\.count) }
        func goOn() { gate.signal() }

        func send(_ frame: UnsafeRawBufferPointer) -> Bool {
            frames.with { $0.append(Data(frame)) }
            if waits { gate.wait() }
            return true
        }
    }

    @Test("one read is outstanding at a time, and each batch is one frame")
    func oneRead() async throws {
        let (flow, sink) = (FakeFlow(), Sink())
        let pump = CrypRQPacketPump(flow: flow)
        pump.attach(sink)
        pump.attach(sink)
        for round in 1...20 {
            try await until("a read") { flow.isRead }
            flow.arrive([ipv4(), ipv6(), ipv4(1400)])
            try await until("a frame") { sink.count == round }
        }
        try await until("a read") { flow.isRead }
        #expect(flow.readsAtOnce == 1 && flow.reads == 21)
        #expect(try sink.packets.count == 60)
        #expect(pump.counters.toDaemon == 60)
    }

    @Test("while the daemon does not take packets the interface is not read")
    func backPressure() async throws {
        let (flow, sink) = (FakeFlow(), Sink(waits: true))
        let pump = CrypRQPacketPump(flow: flow)
        pump.attach(sink)
        flow.arrive([ipv4()])
        try await until("the frame is on its way") { sink.count == 1 }
        #expect(!flow.isRead)
        sink.goOn()
        try await until("a read") { flow.isRead }
    }

    @Test("a batch beyond one frame becomes several, in order")
    func largeBatch() async throws {
        let (flow, sink) = (FakeFlow(), Sink())
        let pump = CrypRQPacketPump(flow: flow)
        pump.attach(sink)
        let batch = (1...300).map { ipv4(1000 + $0) }
        flow.arrive(batch)
        try await until("all packets") { pump.counters.toDaemon == 300 }
        #expect(try sink.packets == batch)
        #expect(sink.count == 2)
    }

    @Test("what is no IP packet is dropped and counted, both ways")
    func invalid() async throws {
        let (flow, sink) = (FakeFlow(), Sink())
        let pump = CrypRQPacketPump(flow: flow)
        pump.attach(sink)
        flow.arrive([Data(), Data([0x15]), ipv4(65_536), ipv4()])
        try await until("the good one") { pump.counters.toDaemon == 1 }
        #expect(pump.counters.droppedInvalid == 3)
        pump.deliver([Data([0xf0]), ipv6()])
        #expect(flow.written == [ipv6()] && pump.counters.droppedInvalid == 4)
    }

    @Test("without a daemon packets are dropped and counted, and reading ends")
    func detached() async throws {
        let flow = FakeFlow()
        let pump = CrypRQPacketPump(flow: flow)
        #expect(!flow.isRead)
        pump.attach(Sink())
        pump.detach()
        flow.arrive([ipv4(), ipv4()])
        try await until("they are counted") { pump.counters.droppedDetached == 2 }
        #expect(!flow.isRead && flow.reads == 1)
    }

    @Test("packets of the daemon come with macOS's numbers of their families, and refused ones are counted")
    func families() {
        let flow = FakeFlow()
        let pump = CrypRQPacketPump(flow: flow)
        pump.deliver([ipv4(), ipv6(), ipv4()])
        #expect(flow.families == [2, 30, 2])
        flow.refuse()
        pump.deliver([ipv6()])
        #expect(pump.counters.toInterface == 3 && pump.counters.droppedByInterface == 1)
    }
}
