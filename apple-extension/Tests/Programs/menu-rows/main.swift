// Prints the rows of the menu for the daemon behind a control socket, one a line. A test of the menu against real
// daemons runs it. Usage: menu-rows [--as UID] SOCKET [invite | exit PEER]
import CrypRQTunnelKit
import Foundation

var arguments = Array(CommandLine.arguments.dropFirst())
if arguments.first == "--as", arguments.count > 2, let user = UInt32(arguments[1]) {
    guard setgroups(0, nil) == 0, setgid(user) == 0, setuid(user) == 0 else { fatalError("cannot be another user") }
    arguments.removeFirst(2)
}
guard let path = arguments.first else { fatalError("usage: menu-rows [--as UID] SOCKET [invite | exit PEER]") }
let client = ControlClient(path: path)
var model = MenuModel()
model.daemon = client.look()
let action: MenuAction? =
    switch arguments.dropFirst().first {
    case "invite": .invite
    case "exit" where arguments.count > 2: .exit(peer: arguments[2])
    default: nil
    }
if let action, let request = model.request(for: action) {
    model.take(client.perform(request), of: action)
    model.daemon = client.look()
}
for row in model.rows { print(row) }
