// swift-tools-version: 6.0
// On macOS Xcode builds the extension and the app (project.yml) and takes the kit from here. On Linux this package
// builds all of it, the Apple-only files against the hand-written declarations in Interfaces, and tests it.
//
// The linker finds libcryprq_ipc.a by a search path that ./check and Xcode's settings give.
import PackageDescription

let kit = Target.Dependency.target(name: "CrypRQTunnelKit")
var targets: [Target] = [
    .systemLibrary(name: "CCrypRQIPC"),
    .target(name: "CrypRQTunnelKit", dependencies: ["CCrypRQIPC"]),
    .testTarget(name: "CrypRQTunnelKitTests", dependencies: [kit, "CCrypRQIPC"]),
]

#if os(Linux)
    let tunnel = ["NetworkExtension", "XPC", "os"]
    let app = ["NetworkExtension", "SystemExtensions", "ServiceManagement", "SwiftUI", "CoreImage"]
    let interfaces = Set(tunnel + app).sorted()
    targets += interfaces.map {
        .target(name: $0, dependencies: $0 == "SwiftUI" ? ["CoreImage"] : [], path: "Interfaces/\($0)")
    }
    targets += [
        .executableTarget(name: "PacketTunnel", dependencies: [kit] + tunnel.map { .target(name: $0) }),
        .executableTarget(name: "MenuBar", dependencies: [kit] + app.map { .target(name: $0) }),
        .executableTarget(name: "swift-pump", dependencies: [kit], path: "Tests/Programs/swift-pump"),
        .executableTarget(name: "menu-rows", dependencies: [kit], path: "Tests/Programs/menu-rows"),
        .testTarget(name: "PacketTunnelTests", dependencies: ["PacketTunnel", "NetworkExtension", kit]),
    ]
#endif

let package = Package(
    name: "CrypRQ",
    platforms: [.macOS(.v13)],
    products: [.library(name: "CrypRQTunnelKit", targets: ["CrypRQTunnelKit"])],
    targets: targets
)
