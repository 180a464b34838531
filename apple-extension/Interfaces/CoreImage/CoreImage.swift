// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Foundation

// https://developer.apple.com/documentation/coregraphics/cgimage
public final class CGImage {
    init() {}
}

// https://developer.apple.com/documentation/coreimage/ciimage
open class CIImage: NSObject {
    open var extent: CGRect { fatalError("a declaration") }
}

// https://developer.apple.com/documentation/coreimage/cifilter
open class CIFilter: NSObject {
    public init?(name: String) { fatalError("a declaration \(name)") }
    open func setValue(_ value: Any?, forKey key: String) { fatalError("a declaration") }
    open var outputImage: CIImage? { fatalError("a declaration") }
}

// https://developer.apple.com/documentation/coreimage/cicontext
open class CIContext: NSObject {
    public override init() {}
    open func createCGImage(_ image: CIImage, from rect: CGRect) -> CGImage? { fatalError("a declaration") }
}
