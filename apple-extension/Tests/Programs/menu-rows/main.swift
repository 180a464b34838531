// Prints the rows of the menu for the daemon behind a control socket, one a line. A test of the menu against real
// daemons runs it. Usage: menu-rows [--as UID] SOCKET [invite]
import CrypRQTunnelKit
import Foundation

var arguments = Array(CommandLine.arguments.dropFirst())
if arguments.first == "--as", arguments.count > 2, let user = UInt32(arguments[1]) {
    guard setgroups(0, nil) == 0, setgid(user) == 0, setuid(user) == 0 else { fatalError("cannot be another user") }
    arguments.removeFirst(2)
}
guard let path = arguments.first else { fatalError("usage: menu-rows [--as UID] SOCKET [invite]") }
let client = ControlClient(path: path)
var model = MenuModel()
model.daemon = client.look()
if arguments.dropFirst().first == "invite", let request = model.request(for: .invite) {
    model.take(client.perform(request))
}
for row in model.rows { print(row) }
