import CCrypRQIPC
import Foundation
import Testing

@testable import CrypRQTunnelKit

/// ipc-proto/vectors, as Swift reads and writes them.
struct VectorTests {
    private static let folder = repository.appending(path: "ipc-proto/vectors")

    private struct Meaning: Decodable {
        struct Body: Decodable {
            var packets: [String]?
        }

        var kind: String?
        var refused: String?
        var body: Body?
    }

    private func all() throws -> [(name: String, frame: Data, json: Data, meaning: Meaning)] {
        try FileManager.default.contentsOfDirectory(at: Self.folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "bin" }
            .map { file in
                let json = try Data(contentsOf: file.deletingPathExtension().appendingPathExtension("json"))
                let meaning = try JSONDecoder().decode(Meaning.self, from: json)
                return (file.deletingPathExtension().lastPathComponent, try Data(contentsOf: file), json, meaning)
            }
    }

    @Test("every control frame of the extension's conversation is read and written as published")
    func controlFrames() throws {
        let others = ["request", "reply", "event", "packets"]
        var looked = 0
        for (name, frame, json, meaning) in try all() {
            guard let kind = meaning.kind, !others.contains(kind) else { continue }
            let read = try frame.withUnsafeBytes { try Wire.control($0) }
            #expect(try read == JSONDecoder().decode(ControlFrame.self, from: json), "\(name)")
            #expect(try Wire.bytes(read) == frame, "\(name)")
            looked += 1
        }
        #expect(looked > 35)
    }

    @Test("packet frames are read and written as published")
    func packetFrames() throws {
        var looked = 0
        for (name, frame, _, meaning) in try all() where meaning.kind == "packets" {
            let packets = try frame.withUnsafeBytes { bytes throws(WireError) in try Wire.packets(bytes) }
            let hex = packets.map { $0.map { byte in String(format: "%02x", byte) }.joined() }
            #expect(hex == meaning.body?.packets, "\(name)")
            var again = PacketFrame()
            for packet in packets { #expect(try again.add(packet)) }
            if !packets.isEmpty { #expect(again.take { Data($0) } == frame, "\(name)") }
            looked += 1
        }
        #expect(looked >= 2)
    }

    @Test("what must be refused is refused by name")
    func refusals() throws {
        let statuses: [String: Int32] = [
            "magic": CRYPRQ_MAGIC, "version": CRYPRQ_VERSION, "reserved": CRYPRQ_RESERVED, "kind": CRYPRQ_KIND,
            "too_long": CRYPRQ_TOO_LONG, "truncated": CRYPRQ_TRUNCATED, "trailing": CRYPRQ_TRAILING,
            "not_canonical": CRYPRQ_NOT_CANONICAL, "malformed": CRYPRQ_MALFORMED, "packet_length": CRYPRQ_PACKET_LENGTH,
        ]
        var looked = 0
        for (name, frame, _, meaning) in try all() {
            guard let why = meaning.refused else { continue }
            let error = #expect(throws: WireError.self, "\(name)") {
                try frame.withUnsafeBytes { bytes in
                    guard let next = try Wire.next(bytes) else { throw WireError(status: CRYPRQ_TRUNCATED) }
                    if next.isPackets { _ = try Wire.packets(bytes) } else { _ = try Wire.control(bytes) }
                }
            }
            #expect(error?.status == statuses[why], "\(name)")
            looked += 1
        }
        #expect(looked > 25)
    }

    @Test("hello is the library's")
    func hello() throws {
        #expect(try Wire.hello(build: "0.1.0", id: 1) == vector("hello__extension"))
    }

    @Test("error codes have names, and statuses a text")
    func names() {
        let names = (1...22).compactMap { Wire.errorName($0) }
        #expect(names.count == 22 && Set(names).count == 22)
        #expect(names[2] == "version_mismatch" && Wire.errorName(0) == nil)
        #expect(WireError(status: CRYPRQ_TRUNCATED).description == "the frame is cut off")
    }

    @Test("a full frame takes no more, and the next one begins empty")
    func fullFrame() throws {
        var frame = PacketFrame()
        var count = 0
        while try frame.add(ipv4(65_535)) { count += 1 }
        #expect(count == 3)
        #expect(frame.take { $0.count } <= Wire.longestFrame)
        #expect(frame.isEmpty)
        #expect(throws: WireError.self) { try frame.add(Data()) }
    }
}
