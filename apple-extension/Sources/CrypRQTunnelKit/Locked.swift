import Foundation

/// A value that one thread at a time reads or changes.
final class Locked<Value>: @unchecked Sendable {
    // Unchecked because the compiler cannot see that `value` is only touched while `lock` is held.
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) {
        self.value = value
    }

    func with<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        lock.lock()
        defer { lock.unlock() }
        return try body(&value)
    }
}
