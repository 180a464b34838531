// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

@_exported import CoreImage
import Foundation

// https://developer.apple.com/documentation/swiftui/view
@MainActor public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}

extension Never: View {
    public var body: Never { return fatalError("a declaration") }
}

// https://developer.apple.com/documentation/swiftui/viewbuilder
@resultBuilder public struct ViewBuilder {
    public static func buildBlock<each Content: View>(_ content: repeat each Content) -> Group<(repeat each Content)> {
        Group()
    }
    public static func buildEither<First: View, Second: View>(first: First) -> Either<First, Second> { Either() }
    public static func buildEither<First: View, Second: View>(second: Second) -> Either<First, Second> { Either() }
    public static func buildIf<Content: View>(_ content: Content?) -> Group<Content> { Group() }
}

public struct Group<Content>: View {
    nonisolated init() {}
    public var body: Never { return fatalError("a declaration") }
}

public struct Either<First, Second>: View {
    nonisolated init() {}
    public var body: Never { return fatalError("a declaration") }
}

// https://developer.apple.com/documentation/swiftui/text
public struct Text: View {
    public init(verbatim content: String) {}
    public var body: Never { return fatalError("a declaration") }
}

// https://developer.apple.com/documentation/swiftui/button
public struct Button: View {
    public init(_ title: String, action: @escaping @MainActor () -> Void) {}
    public var body: Never { return fatalError("a declaration") }
}

// https://developer.apple.com/documentation/swiftui/image
public struct Image: View {
    public init(_ cgImage: CGImage, scale: CGFloat, label: Text) {}
    public func interpolation(_ interpolation: Interpolation) -> Image { self }
    public func resizable() -> Image { self }
    public var body: Never { return fatalError("a declaration") }

    public enum Interpolation: Sendable {
        case none
    }
}

// https://developer.apple.com/documentation/swiftui/vstack
public struct VStack<Content: View>: View {
    public init(alignment: HorizontalAlignment, spacing: CGFloat?, @ViewBuilder content: () -> Content) {}
    public var body: Never { return fatalError("a declaration") }
}

public enum HorizontalAlignment: Sendable {
    case leading
}

// https://developer.apple.com/documentation/swiftui/foreach
public struct ForEach<Data: RandomAccessCollection, Content: View>: View where Data.Element: Identifiable {
    public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content) {}
    public var body: Never { return fatalError("a declaration") }
}

public struct Modified: View {
    nonisolated init() {}
    public var body: Never { return fatalError("a declaration") }
}

public struct Font: Sendable {
    public static let headline = Font()
    public static let caption = Font()
}

public struct Color: Sendable {
    public static let orange = Color()
    public static let secondary = Color()
}

// https://developer.apple.com/documentation/swiftui/view-fundamentals
extension View {
    public func font(_ font: Font?) -> some View { Modified() }
    public func foregroundColor(_ color: Color?) -> some View { Modified() }
    public func padding(_ length: CGFloat) -> some View { Modified() }
    public func frame(width: CGFloat?, height: CGFloat?) -> some View { Modified() }
}
