import CrypRQTunnelKit
import Foundation
import ServiceManagement
import SwiftUI

/// Keeps the model up to date and does what is clicked.
@MainActor
final class MenuController: ObservableObject {
    /// How often the daemon is asked.
    private static let period = Duration.seconds(2)

    @Published private(set) var model = MenuModel()

    private let client: ControlClient
    private let tunnel = TunnelSwitch()
    private let activation = ExtensionActivation()

    init(client: ControlClient = ControlClient()) {
        self.client = client
        model.launchesAtLogin = SMAppService.mainApp.status == .enabled
        Task { [weak self] in
            while let self {
                await self.look()
                try? await Task.sleep(for: Self.period)
            }
        }
    }

    func click(_ action: MenuAction) {
        Task { await perform(action) }
    }

    private func perform(_ action: MenuAction) async {
        model.trouble = nil
        do {
            switch action {
            case .activateExtension: try await activation.activate()
            case .tunnelOn: try await tunnel.on()
            case .tunnelOff: tunnel.off()
            case .launchAtLogin(let wanted): try launchAtLogin(wanted)
            case .quit: exit(0)
            case .connect, .disconnect, .exit, .invite: await ask(action)
            }
        } catch {
            model.trouble = error.localizedDescription
        }
        await look()
    }

    private func launchAtLogin(_ wanted: Bool) throws {
        if wanted { try SMAppService.mainApp.register() } else { try SMAppService.mainApp.unregister() }
        model.launchesAtLogin = SMAppService.mainApp.status == .enabled
    }

    private func look() async {
        let client = client
        model.daemon = await Task.detached { client.look() }.value
        model.tunnel = await tunnel.view
    }

    private func ask(_ action: MenuAction) async {
        guard let request = model.request(for: action) else { return }
        let client = client
        let answer = await Task.detached { client.perform(request) }.value
        model.take(answer, of: action)
    }
}
