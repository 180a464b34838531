// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Dispatch
import Foundation

// https://developer.apple.com/documentation/systemextensions/ossystemextensionrequest
open class OSSystemExtensionRequest: NSObject {
    public enum Result: Int, Sendable {
        case completed = 0
        case willCompleteAfterReboot = 1
    }

    public enum ReplacementAction: Int, Sendable {
        case cancel = 0
        case replace = 1
    }

    open weak var delegate: (any OSSystemExtensionRequestDelegate)?

    open class func activationRequest(
        forExtensionWithIdentifier identifier: String, queue: DispatchQueue
    ) -> OSSystemExtensionRequest { fatalError("a declaration") }
}

// https://developer.apple.com/documentation/systemextensions/ossystemextensionproperties
open class OSSystemExtensionProperties: NSObject {}

// https://developer.apple.com/documentation/systemextensions/ossystemextensionrequestdelegate
public protocol OSSystemExtensionRequestDelegate: AnyObject {
    func request(
        _ request: OSSystemExtensionRequest, actionForReplacingExtension existing: OSSystemExtensionProperties,
        withExtension ext: OSSystemExtensionProperties
    ) -> OSSystemExtensionRequest.ReplacementAction
    func requestNeedsUserApproval(_ request: OSSystemExtensionRequest)
    func request(_ request: OSSystemExtensionRequest, didFinishWithResult result: OSSystemExtensionRequest.Result)
    func request(_ request: OSSystemExtensionRequest, didFailWithError error: any Error)
}

// https://developer.apple.com/documentation/systemextensions/ossystemextensionmanager
open class OSSystemExtensionManager: NSObject {
    open class var shared: OSSystemExtensionManager { fatalError("a declaration") }
    open func submitRequest(_ request: OSSystemExtensionRequest) { fatalError("a declaration") }
}
