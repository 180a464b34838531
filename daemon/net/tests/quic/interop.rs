//! With the stock QUIC transport of libp2p.

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::StreamMuxerBox;
use net::quic::Limits;

use crate::support::{Host, LOCALHOST, LOCALHOST_6, WIDE, accept, in_time, meet, open};

/// A megabyte from one end to the other and back, each way on a stream of its own.
async fn exchange(mut a: StreamMuxerBox, mut b: StreamMuxerBox) {
    for _ in 0..2 {
        let mut stream = open(&mut a).await.unwrap();
        let sending = async {
            stream.write_all(&[7; 1 << 20]).await.unwrap();
            stream.close().await.unwrap();
        };
        let receiving = async {
            let mut bytes = Vec::new();
            accept(&mut b).await.unwrap().read_to_end(&mut bytes).await.unwrap();
            assert!(bytes == [7; 1 << 20]);
        };
        in_time("a megabyte", async { tokio::join!(sending, receiving) }).await;
        std::mem::swap(&mut a, &mut b);
    }
}

#[tokio::test]
async fn the_stock_transport_reaches_us_and_we_reach_it() {
    for listen in [LOCALHOST, LOCALHOST_6] {
        let (mut ours, mut stock) = (Host::new(1), Host::stock(2));
        let (at_ours, at_stock) = (ours.listen(listen).await, stock.listen(listen).await);
        let (a, b) = meet(&stock, &mut ours, &at_ours).await;
        exchange(a, b).await;
        let (a, b) = meet(&ours, &mut stock, &at_stock).await;
        exchange(a, b).await;
    }
}

#[tokio::test]
async fn the_stock_transport_proves_its_address_when_asked() {
    let (mut ours, stock) = (Host::with(1, Limits { unproven: 0, ..WIDE }), Host::stock(2));
    let address = ours.listen(LOCALHOST).await;
    let (a, b) = meet(&stock, &mut ours, &address).await;
    exchange(a, b).await;
}
