import Foundation
import NetworkExtension

#if canImport(ObjectiveC)
    autoreleasepool { NEProvider.startSystemExtensionMode() }
#else
    NEProvider.startSystemExtensionMode()
#endif
dispatchMain()
