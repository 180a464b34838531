//! What those who connect by TCP may use up.

mod streams;

use net::address::socket_of;
use node::drops::DropReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// What both sides begin with whenever they agree on something (multistream-select): who has it back was heard.
const HEADER: [u8; 20] = *b"\x13/multistream/1.0.0\n";
/// A connection that says nothing lasts longer.
const SOON: Duration = Duration::from_secs(5);

/// A host that connects and then says nothing; `None` if it is turned away.
async fn silent(host: &Host) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(socket_of(&host.tcp).unwrap()).await.unwrap();
    let heard = async {
        stream.write_all(&HEADER).await?;
        stream.read_exact(&mut [0; HEADER.len()]).await
    };
    let heard = tokio::time::timeout(LIMIT, heard).await.expect("an answer or an end");
    heard.is_ok().then_some(stream)
}

#[tokio::test]
async fn attack_who_says_nothing_by_tcp_keeps_nobody_out_by_quic() {
    let (mut a, mut b, mut c) = (Host::new(40).await, Host::new(41).await, Host::new(42).await);
    let mut held = Vec::new();
    for _ in 0..64 {
        held.extend(silent(&b).await);
    }
    let address = b.quic.clone();
    tokio::time::timeout(SOON, meet(&mut a, &mut b, address)).await.expect("QUIC has places of its own");
    assert_eq!(held.len(), 8, "of one source");
    assert_eq!(b.drops.get(DropReason::ConnectionsLimited), 56);
    drop(held);
    let address = b.tcp.clone();
    tokio::time::timeout(SOON, meet(&mut c, &mut b, address)).await.expect("who left has no place any more");
}
