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

let package = Package(
    name: "CrypRQ",
    platforms: [.macOS(.v13)],
    products: [.library(name: "CrypRQTunnelKit", targets: ["CrypRQTunnelKit"])],
    targets: targets
)
