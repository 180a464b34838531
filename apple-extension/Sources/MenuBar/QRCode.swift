import CoreImage
import Foundation
import SwiftUI

/// A text as a QR code, or the text itself where none can be drawn.
struct QRCode: View {
    let text: String

    var body: some View {
        if let image = Self.image(of: text) {
            Image(image, scale: 1, label: Text(verbatim: "Invitation"))
                .interpolation(.none)
                .resizable()
                .frame(width: 240, height: 240)
        } else {
            Text(verbatim: text)
        }
    }

    private static func image(of text: String) -> CGImage? {
        guard let filter = CIFilter(name: "CIQRCodeGenerator") else { return nil }
        filter.setValue(Data(text.utf8), forKey: "inputMessage")
        guard let drawn = filter.outputImage else { return nil }
        return CIContext().createCGImage(drawn, from: drawn.extent)
    }
}
