import Testing

@testable import CrypRQTunnelKit

/// The life of a session, by moved time.
struct ControllerTests {
    typealias Event = CrypRQTunnelController.Event
    typealias Effect = CrypRQTunnelController.Effect

    private static let ack = Event.received(
        ControlFrame(id: 1, .helloAck(HelloAck(version: 1, build: "", features: 0))))
    private static func told(_ value: TunnelSettings = settings, id: UInt32 = 3) -> Event {
        .received(ControlFrame(id: id, .tunnelSettings(value)))
    }
    private static func refused(_ code: String) -> Event {
        .received(ControlFrame(.refused(Refusal(error: DaemonError(code: code, message: "no", hint: "mend")))))
    }
    private static let changed = TunnelSettings(addresses: ["10.0.0.1/32"], included: [], mtu: 1280)

    private var controller = CrypRQTunnelController()
    private var now = Duration.zero

    private mutating func after(_ step: Duration = .zero, _ events: Event...) -> [Effect] {
        now += step
        var effects: [Effect] = []
        for event in events { effects = controller.handle(event, at: now) }
        return effects
    }

    private mutating func run() {
        _ = after(.zero, .start, .opened, Self.ack, Self.told(), .applied(error: nil))
    }

    @Test("a session starts: connect, greet, settings, ready, and only then the answer")
    mutating func start() {
        #expect(after(.zero, .start) == [.open])
        #expect(after(.seconds(1), .opened) == [.sendHello])
        #expect(after(.seconds(1), Self.ack) == [])
        #expect(after(.seconds(1), Self.told()) == [.apply(settings)])
        let ready = ControlFrame(id: 3, .ready)
        #expect(after(.seconds(1), .applied(error: nil)) == [.send(ready), .finishStart(nil), .attachPump])
        #expect(controller.deadline == nil)
    }

    @Test("start is answered after 20 s, whatever hangs")
    mutating func startLimit() {
        let hangs: [[Event]] = [[], [.opened], [.opened, Self.ack], [.opened, Self.ack, Self.told()]]
        for events in hangs {
            controller = CrypRQTunnelController()
            now = .zero
            _ = after(.zero, .start)
            for event in events { _ = after(.zero, event) }
            var answers: [Effect] = []
            while let deadline = controller.deadline, now < .seconds(60) {
                now = deadline
                let effects = controller.handle(.time, at: now)
                answers += effects.filter { if case .finishStart = $0 { true } else { false } }
                if effects.contains(.open) {
                    answers += controller.handle(.openFailed("nobody"), at: now).filter { _ in false }
                }
            }
            #expect(now == .seconds(20) && answers.count == 1, "\(events)")
            #expect(controller.handle(.applied(error: nil), at: now) == [], "what comes later is not heard")
        }
    }

    @Test("a daemon that comes within 20 s is found")
    mutating func lateDaemon() {
        _ = after(.zero, .start, .openFailed("nobody"))
        #expect(controller.deadline == .milliseconds(250))
        #expect(after(.milliseconds(250), .time) == [.open])
        _ = after(.zero, .openFailed("nobody"))
        #expect(after(.milliseconds(499), .time) == [])
        #expect(after(.milliseconds(1), .time) == [.open])
        _ = after(.zero, .opened, Self.ack, Self.told())
        #expect(after(.zero, .applied(error: nil)).contains(.finishStart(nil)))
    }

    @Test("pauses between attempts grow to 5 s and start anew after a success")
    mutating func pauses() {
        run()
        var seen: [Duration] = []
        _ = after(.zero, .closed("killed"))
        for _ in 0..<6 {
            let due = controller.deadline ?? .zero
            seen.append(due - now)
            now = due
            _ = after(.zero, .time, .openFailed("nobody"))
        }
        #expect(seen == CrypRQTunnelController.pauses + [.seconds(5)])
        now = controller.deadline ?? .zero
        _ = after(.zero, .time, .opened, Self.ack, Self.told())
        _ = after(.zero, .closed("killed"))
        #expect(controller.deadline == now + .milliseconds(250))
    }

    @Test("a daemon that dies and returns is survived without a new session, and its settings are not applied twice")
    mutating func restart() {
        run()
        #expect(after(.seconds(9), .closed("killed")) == [.detachPump, .setReasserting(true)])
        #expect(after(.milliseconds(250), .time) == [.open])
        _ = after(.zero, .opened, Self.ack)
        let ready = ControlFrame(id: 8, .ready)
        #expect(after(.zero, Self.told(id: 8)) == [.send(ready), .setReasserting(false), .attachPump])
        #expect(controller.deadline == nil)
    }

    @Test("after 60 s without a daemon the session ends, not before")
    mutating func absence() {
        run()
        _ = after(.seconds(5), .closed("killed"))
        var cancelled: Duration?
        while let deadline = controller.deadline, cancelled == nil {
            now = deadline
            let effects = controller.handle(.time, at: now)
            if effects.contains(.open) { _ = controller.handle(.openFailed("nobody"), at: now) }
            if effects.contains(where: { if case .cancel = $0 { true } else { false } }) { cancelled = now }
        }
        #expect(cancelled == .seconds(65))
        #expect(controller.deadline == nil)
    }

    @Test(
        "a typed refusal ends the session and says what to do",
        arguments: ["version_mismatch", "extension_attached", "permission_denied", "unsupported"])
    mutating func refusal(code: String) {
        _ = after(.zero, .start, .opened)
        let failure = TunnelFailure("cryprqd refuses: no", hint: "mend")
        #expect(after(.zero, Self.refused(code)) == [.close, .finishStart(failure)])
        controller = CrypRQTunnelController()
        run()
        _ = after(.zero, .closed("killed"))
        _ = after(.milliseconds(250), .time, .opened)
        #expect(after(.zero, Self.refused(code)) == [.close, .cancel(failure)])
    }

    @Test("a refusal that passes by itself is waited out", arguments: ["busy", "not_running", "too_many_clients"])
    mutating func temporary(code: String) {
        _ = after(.zero, .start, .opened)
        #expect(after(.zero, Self.refused(code)) == [.close])
        #expect(after(.milliseconds(250), .time) == [.open])
    }

    @Test("an error of the daemon ends the session, unless it passes by itself")
    mutating func cutOff() {
        run()
        func error(_ code: String) -> Event {
            .received(ControlFrame(.error(DaemonError(code: code, message: "no"))))
        }
        #expect(after(.zero, error("timed_out")) == [.close, .detachPump, .setReasserting(true)])
        _ = after(.milliseconds(250), .time, .opened, Self.ack, Self.told())
        let failure = TunnelFailure("cryprqd cut the extension off: no")
        #expect(after(.zero, error("bad_request")) == [.detachPump, .close, .cancel(failure)])
    }

    @Test("Stop of the daemon ends the session")
    mutating func daemonStops() {
        run()
        let effects = after(.zero, .received(ControlFrame(.stop(.daemonStopping))))
        #expect(effects == [.detachPump, .close, .cancel(TunnelFailure("cryprqd was stopped"))])
        #expect(after(.zero, .closed("end"), .time) == [])
    }

    @Test("stop of the system during start answers both, and nothing follows")
    mutating func stopDuringStart() {
        _ = after(.zero, .start, .opened, Self.ack, Self.told())
        let effects = after(.zero, .stop)
        let failure = TunnelFailure("the tunnel was stopped while it started")
        #expect(effects == [.send(ControlFrame(.stop(.system))), .close, .finishStart(failure), .finishStop])
        #expect(after(.zero, .applied(error: nil)) == [])
        #expect(after(.seconds(60), .time) == [])
        controller = CrypRQTunnelController()
        #expect(after(.zero, .start, .stop) == [.close, .finishStart(failure), .finishStop])
    }

    @Test("a running session stops: pump, farewell, end")
    mutating func stop() {
        run()
        #expect(after(.zero, .stop) == [.detachPump, .send(ControlFrame(.stop(.system))), .close, .finishStop])
        #expect(after(.zero, .stop) == [.close, .finishStop], "a second stop is answered too")
    }

    @Test("sleep pauses and wake resumes")
    mutating func sleepAndWake() {
        run()
        #expect(after(.zero, .sleep) == [.detachPump, .send(ControlFrame(.pause))])
        #expect(after(.zero, .sleep) == [], "twice is once")
        #expect(after(.zero, .wake) == [.send(ControlFrame(.resume)), .attachPump])
        #expect(after(.zero, .wake) == [])
    }

    @Test("a daemon that returns while the machine sleeps is told to pause")
    mutating func reattachAsleep() {
        run()
        _ = after(.zero, .sleep, .closed("killed"))
        _ = after(.milliseconds(250), .time, .opened, Self.ack)
        let effects = after(.zero, Self.told())
        #expect(effects == [.send(ControlFrame(id: 3, .ready)), .setReasserting(false), .send(ControlFrame(.pause))])
        #expect(after(.zero, .wake) == [.send(ControlFrame(.resume)), .attachPump])
    }

    @Test("the 60 s begin anew at wake, and the next attempt comes at once")
    mutating func wakeWithoutDaemon() {
        run()
        _ = after(.zero, .closed("killed"), .sleep)
        #expect(after(.seconds(100), .time) == [.open], "asleep, the session is not ended")
        _ = after(.zero, .openFailed("nobody"))
        #expect(after(.zero, .wake) == [.open])
        _ = after(.zero, .openFailed("nobody"))
        #expect(controller.deadline == now + .milliseconds(250))
        #expect(after(.seconds(59), .time) == [.open])
    }

    @Test("settings that change are applied one after the other, and only the newest is answered")
    mutating func changes() {
        run()
        #expect(after(.zero, Self.told(Self.changed, id: 4)) == [.apply(Self.changed)])
        #expect(after(.zero, Self.told(id: 5)) == [])
        #expect(after(.zero, .applied(error: nil)) == [.apply(settings)])
        #expect(after(.zero, .applied(error: nil)) == [.send(ControlFrame(id: 5, .ready))])
    }

    @Test("settings that macOS refuses end the session, and the daemon hears why")
    mutating func refusedSettings() {
        _ = after(.zero, .start, .opened, Self.ack, Self.told())
        let failure = TunnelFailure("macOS did not take the tunnel's settings: bad")
        let effects = after(.zero, .applied(error: "bad"))
        #expect(effects == [.send(ControlFrame(.stop(.settingsRefused))), .close, .finishStart(failure)])
    }

    @Test("an answer of the system for a connection that is gone is not sent to the next one")
    mutating func lateAnswer() {
        _ = after(.zero, .start, .opened, Self.ack, Self.told(), .closed("killed"))
        #expect(after(.zero, .applied(error: nil)) == [])
        _ = after(.milliseconds(250), .time, .opened, Self.ack)
        #expect(after(.zero, Self.told(id: 7)).first == .send(ControlFrame(id: 7, .ready)))
    }

    @Test(
        "what the daemon may not say now ends the connection, not the session",
        arguments: [ControlMessage.ready, .pause, .resume, .hello(Hello.any), .helloAck(HelloAck.any)])
    mutating func outOfTurn(message: ControlMessage) {
        run()
        let effects = after(.zero, .received(ControlFrame(message)))
        #expect(effects == [.close, .detachPump, .setReasserting(true)])
    }

    @Test("settings before the greeting are out of turn")
    mutating func settingsTooEarly() {
        _ = after(.zero, .start, .opened)
        #expect(after(.zero, Self.told()) == [.close])
    }

    @Test("a daemon that accepts and says nothing is given up after 5 s")
    mutating func silence() {
        run()
        _ = after(.zero, .closed("killed"))
        _ = after(.milliseconds(250), .time, .opened)
        #expect(after(.seconds(5), .time) == [.close])
        #expect(after(.milliseconds(500), .time) == [.open])
    }
}

extension Hello {
    static let any = Hello(minVersion: 1, maxVersion: 1, build: "", features: 0, role: "extension")
}

extension HelloAck {
    static let any = HelloAck(version: 1, build: "", features: 0)
}
