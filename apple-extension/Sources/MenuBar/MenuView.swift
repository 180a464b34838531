import CrypRQTunnelKit
import SwiftUI

/// The menu's rows, one below the other.
struct MenuView: View {
    @ObservedObject var menu: MenuController

    var body: some View {
        VStack(alignment: .leading, spacing: 6) {
            ForEach(menu.model.rows) { row in RowView(row: row, click: menu.click) }
        }
        .padding(12)
        .frame(width: 340, height: nil)
    }
}

/// One row in the looks of its style.
struct RowView: View {
    let row: MenuRow
    let click: @MainActor (MenuAction) -> Void

    var body: some View {
        if let action = row.action {
            Button(row.text) { click(action) }
        } else if row.style == .ticket {
            QRCode(text: row.text)
        } else {
            Text(verbatim: row.text).font(font).foregroundColor(color)
        }
    }

    private var font: Font? {
        switch row.style {
        case .headline: .headline
        case .detail, .warning: .caption
        case .plain, .button, .ticket: nil
        }
    }

    private var color: Color? {
        switch row.style {
        case .warning: .orange
        case .detail: .secondary
        case .headline, .plain, .button, .ticket: nil
        }
    }
}
