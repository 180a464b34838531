// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Foundation

// https://developer.apple.com/documentation/servicemanagement/smappservice
open class SMAppService: NSObject {
    public enum Status: Int, Sendable {
        case notRegistered = 0
        case enabled = 1
        case requiresApproval = 2
        case notFound = 3
    }

    open class var mainApp: SMAppService { fatalError("a declaration") }
    open var status: Status { fatalError("a declaration") }
    open func register() throws { fatalError("a declaration") }
    open func unregister() throws { fatalError("a declaration") }
}
