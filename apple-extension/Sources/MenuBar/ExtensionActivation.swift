import Foundation
import SystemExtensions

/// Asks macOS to activate the packet-tunnel extension in this app's bundle.
@MainActor
final class ExtensionActivation {
    /// The extension's bundle identifier.
    static var identifier: String {
        Bundle.main.object(forInfoDictionaryKey: "CrypRQExtensionIdentifier") as? String ?? ""
    }

    /// The delegate of the request under way, which the request itself does not keep.
    private var listener: Listener?

    /// Returns once the person has allowed it, which may take long, and throws when they or the system refuse.
    func activate() async throws {
        defer { listener = nil }
        try await withCheckedThrowingContinuation { continuation in
            let request = OSSystemExtensionRequest.activationRequest(
                forExtensionWithIdentifier: Self.identifier, queue: .main)
            let listener = Listener(continuation)
            self.listener = listener
            request.delegate = listener
            OSSystemExtensionManager.shared.submitRequest(request)
        }
    }

    private final class Listener: NSObject, OSSystemExtensionRequestDelegate {
        private var continuation: CheckedContinuation<Void, any Error>?

        init(_ continuation: CheckedContinuation<Void, any Error>) {
            self.continuation = continuation
        }

        func request(
            _ request: OSSystemExtensionRequest, actionForReplacingExtension existing: OSSystemExtensionProperties,
            withExtension ext: OSSystemExtensionProperties
        ) -> OSSystemExtensionRequest.ReplacementAction { .replace }

        func requestNeedsUserApproval(_ request: OSSystemExtensionRequest) {}

        func request(
            _ request: OSSystemExtensionRequest, didFinishWithResult result: OSSystemExtensionRequest.Result
        ) {
            continuation?.resume()
            continuation = nil
        }

        func request(_ request: OSSystemExtensionRequest, didFailWithError error: any Error) {
            continuation?.resume(throwing: error)
            continuation = nil
        }
    }
}
