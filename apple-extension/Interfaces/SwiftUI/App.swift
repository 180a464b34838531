// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Foundation

// https://developer.apple.com/documentation/swiftui/app
@MainActor public protocol App {
    associatedtype Body: Scene
    @SceneBuilder var body: Body { get }
    init()
}

extension App {
    public static func main() { fatalError("a declaration") }
}

// https://developer.apple.com/documentation/swiftui/scene
@MainActor public protocol Scene {
    associatedtype Body: Scene
    @SceneBuilder var body: Body { get }
}

extension Never: Scene {}

@resultBuilder public struct SceneBuilder {
    public static func buildBlock<Content: Scene>(_ content: Content) -> Content { content }
}

// https://developer.apple.com/documentation/swiftui/menubarextra
public struct MenuBarExtra<Content: View>: Scene {
    public init(_ title: String, systemImage: String, @ViewBuilder content: () -> Content) {}
    public var body: Never { return fatalError("a declaration") }
}

public struct WindowMenuBarExtraStyle: Sendable {}

extension WindowMenuBarExtraStyle {
    public static var window: WindowMenuBarExtraStyle { WindowMenuBarExtraStyle() }
}

extension Scene {
    // https://developer.apple.com/documentation/swiftui/scene/menubarextrastyle(_:)
    public func menuBarExtraStyle(_ style: WindowMenuBarExtraStyle) -> some Scene { self }
}

// https://developer.apple.com/documentation/combine/observableobject
public protocol ObservableObject: AnyObject {}

// https://developer.apple.com/documentation/combine/published
@propertyWrapper public struct Published<Value> {
    public var wrappedValue: Value
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
}

// https://developer.apple.com/documentation/swiftui/stateobject
@MainActor @propertyWrapper public struct StateObject<Object: ObservableObject> {
    public let wrappedValue: Object
    public init(wrappedValue: @autoclosure () -> Object) { self.wrappedValue = wrappedValue() }
}

// https://developer.apple.com/documentation/swiftui/observedobject
@MainActor @propertyWrapper public struct ObservedObject<Object: ObservableObject> {
    public let wrappedValue: Object
    public init(wrappedValue: Object) { self.wrappedValue = wrappedValue }
}
