import CCrypRQIPC
import Foundation

/// Why bytes are no frame, or a message does not fit one: a status of `cryprq_ipc.h`.
public struct WireError: Error, Equatable, Sendable, CustomStringConvertible {
    public let status: Int32

    public var description: String { String(cString: cryprq_status_text(status)) }

    static func check(_ status: Int32) throws(WireError) {
        if status != CRYPRQ_OK { throw WireError(status: status) }
    }
}

/// The frames of the local protocol. Every byte is read and written by the Rust library; this file only lends it memory.
public enum Wire {
    /// The length of a frame's header in bytes.
    public static let header = Int(CRYPRQ_HEADER)
    /// The longest frame in bytes, header included.
    public static let longestFrame = Int(CRYPRQ_MAX_FRAME)

    /// The length of the frame that begins with these bytes, and whether it holds packets; nil when its header is not
    /// whole yet.
    static func next(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> (length: Int, isPackets: Bool)? {
        if bytes.count < header { return nil }
        var found = CryprqHeader()
        try WireError.check(cryprq_frame_header(bytes.octets, bytes.count, &found))
        return (header + Int(found.length), found.kind == UInt8(CRYPRQ_KIND_PACKETS))
    }

    /// Reads one whole control frame.
    public static func control(_ frame: UnsafeRawBufferPointer) throws -> ControlFrame {
        let json = try filled(firstGuess: 4096) { memory, capacity, written in
            cryprq_frame_read(frame.octets, frame.count, memory, capacity, written)
        }
        return try JSONDecoder().decode(ControlFrame.self, from: json)
    }

    /// The bytes of a control frame.
    public static func bytes(_ frame: ControlFrame) throws -> Data {
        let json = try JSONEncoder().encode(frame)
        return try json.withUnsafeBytes { json in
            try filled(firstGuess: 1024) { memory, capacity, written in
                cryprq_frame_write(json.octets, json.count, memory, capacity, written)
            }
        }
    }

    /// The extension's first frame: what this version speaks. `build` is for people.
    public static func hello(build: String, id: UInt32) throws(WireError) -> Data {
        let build = Array(build.utf8)
        return try filled(firstGuess: 256) { memory, capacity, written in
            cryprq_hello_write(UInt32(CRYPRQ_ROLE_EXTENSION), build, build.count, id, memory, capacity, written)
        }
    }

    /// The packets of one whole packet frame, each copied once.
    public static func packets(_ frame: UnsafeRawBufferPointer) throws(WireError) -> [Data] {
        var (count, position, start, length) = (0, 0, 0, 0)
        try WireError.check(cryprq_packets_count(frame.octets, frame.count, &count))
        var packets: [Data] = []
        packets.reserveCapacity(count)
        for _ in 0..<count {
            try WireError.check(cryprq_packets_next(frame.octets, frame.count, &position, &start, &length))
            packets.append(Data(frame[start..<start + length]))
        }
        return packets
    }

    /// The name of an error code in JSON; nil when no error has that number.
    public static func errorName(_ number: UInt16) -> String? {
        let name = try? filled(firstGuess: 64) { memory, capacity, written in
            cryprq_error_name(number, memory, capacity, written)
        }
        return name.map { String(decoding: $0, as: UTF8.self) }
    }

    /// What `write` writes, which is asked again with as much memory as it wants when the first guess was too small.
    private static func filled(
        firstGuess: Int, by write: (UnsafeMutablePointer<UInt8>?, Int, UnsafeMutablePointer<Int>) -> Int32
    ) throws(WireError) -> Data {
        var data = Data(count: firstGuess)
        var written = 0
        func attempt() -> Int32 {
            data.withUnsafeMutableBytes { memory in
                write(memory.bindMemory(to: UInt8.self).baseAddress, memory.count, &written)
            }
        }
        var status = attempt()
        if status == CRYPRQ_NO_ROOM {
            data = Data(count: written)
            status = attempt()
        }
        try WireError.check(status)
        return data.prefix(written)
    }
}

/// Memory for one packet frame, written in place: one copy of each packet, no allocation after the first.
struct PacketFrame {
    private var memory = [UInt8](repeating: 0, count: Wire.longestFrame)
    private var end = 0

    var isEmpty: Bool { end == 0 }

    /// Adds a packet; false when the frame is full.
    mutating func add(_ packet: Data) throws(WireError) -> Bool {
        let status = packet.withUnsafeBytes { packet in
            cryprq_packets_add(&memory, memory.count, &end, packet.octets, packet.count)
        }
        if status == CRYPRQ_NO_ROOM { return false }
        try WireError.check(status)
        return true
    }

    /// Gives the frame's bytes to `use` and begins another.
    mutating func take<Result>(_ use: (UnsafeRawBufferPointer) -> Result) -> Result {
        defer { end = 0 }
        return memory.withUnsafeBytes { use(UnsafeRawBufferPointer(rebasing: $0[..<end])) }
    }
}

extension UnsafeRawBufferPointer {
    fileprivate var octets: UnsafePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}
