import Foundation
import Testing

@testable import CrypRQTunnelKit

/// The control socket's client. Real daemons are asked by tests/tests/swift.
struct ControlTests {
    @Test("an answer is read as soon as its line ends, though the daemon keeps the connection")
    func answer() throws {
        let invite = #"{"reply":"invite","schema":1,"ticket":"t","expires_at":"2026-11-25T00:00:00Z","invite":"1"}"#
        let daemon = try FakeControl(answer: invite)
        let made = try ControlClient(path: daemon.path).ask(.invite, as: Invitation.self)
        #expect(made == Invitation(ticket: "t", expiresAt: "2026-11-25T00:00:00Z"))
        #expect(ControlClient(path: daemon.path).perform(.up(peer: nil)) == .done)
    }

    @Test(
        "what is no answer of this version is foreign",
        arguments: [
            "{}", "[]", "x", #"{"schema":2}"#, #"{"schema":1,"error":{"code":"version_mismatch","message":""}}"#,
        ])
    func foreign(answer: String) throws {
        let daemon = try FakeControl(answer: answer)
        #expect(ControlClient(path: daemon.path).look() == .foreign)
    }

    @Test("a refusal keeps its hint")
    func refused() throws {
        let refusal = #"{"schema":1,"error":{"code":"permission_denied","message":"no","hint":"sudo"}}"#
        let daemon = try FakeControl(answer: refusal)
        let error = DaemonError(code: "permission_denied", message: "no", hint: "sudo")
        #expect(ControlClient(path: daemon.path).perform(.invite) == .failed(.refused(error)))
        var model = MenuModel()
        model.take(.failed(.refused(error)), of: .invite)
        #expect(model.invite == .refused(error))
    }

    @Test("nobody at the socket, and no socket that a path can name")
    func absent() {
        #expect(ControlClient(path: "/nonexistent/control.sock").look() == .absent)
        let long = "/" + String(repeating: "a", count: 200)
        #expect(throws: SystemError.self) { try UnixDoor(path: long).open() }
    }
}
