import CrypRQTunnelKit
import SwiftUI

/// The menu-bar app: shows what `MenuModel` says and hands on clicks.
@main
struct CrypRQApp: App {
    @StateObject private var menu = MenuController()

    var body: some Scene {
        MenuBarExtra("CrypRQ", systemImage: menu.model.symbol) { MenuView(menu: menu) }
            .menuBarExtraStyle(.window)
    }
}
