//! Streams of a connection: what libp2p expects of a muxer, between two of ours and with the stock transport at either end.

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt};

use crate::support::{Host, LOCALHOST, accept, in_time, meet, open};

/// Makes a host with some transport.
type Make = fn(u8) -> Host;
/// Who dials whom.
const ALL: [(Make, Make); 3] = [(Host::new, Host::new), (Host::new, Host::stock), (Host::stock, Host::new)];
/// Those where it is ours that dials, and whose streams end as only ours do.
const OURS_DIALS: [(Make, Make); 2] = [ALL[0], ALL[1]];

async fn connected((a, b): (Make, Make)) -> (StreamMuxerBox, StreamMuxerBox) {
    let (a, mut b) = (a(1), b(2));
    let address = b.listen(LOCALHOST).await;
    meet(&a, &mut b, &address).await
}

/// Answers every stream by what came on it.
fn echo(mut muxer: StreamMuxerBox) {
    tokio::spawn(async move {
        while let Ok(mut stream) = accept(&mut muxer).await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                stream.close().await.unwrap();
            });
        }
    });
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_and_each_way_ends_by_itself() {
    // More than every window.
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    for ends in ALL {
        let (mut a, b) = connected(ends).await;
        echo(b);
        let (mut reader, mut writer) = open(&mut a).await.unwrap().split();
        let sent = bytes.clone();
        tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
            writer.close().await.unwrap();
        });
        let mut received = Vec::new();
        in_time("all bytes", reader.read_to_end(&mut received)).await.unwrap();
        assert!(received == bytes, "every byte once and in order");
    }
}

#[tokio::test]
async fn many_streams_run_at_once_and_more_than_allowed_wait_their_turn() {
    for ends in ALL {
        let (mut a, b) = connected(ends).await;
        echo(b);
        let mut tasks = Vec::new();
        for number in 0..1000_u32 {
            let mut stream = open(&mut a).await.unwrap();
            tasks.push(tokio::spawn(async move {
                stream.write_all(&number.to_le_bytes()).await.unwrap();
                stream.close().await.unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.unwrap();
                assert_eq!(answer, number.to_le_bytes());
            }));
        }
        for task in tasks {
            in_time("an answer", task).await.unwrap();
        }
    }
}

#[tokio::test]
async fn either_end_opens_streams_and_both_at_once() {
    for ends in ALL {
        let (mut a, mut b) = connected(ends).await;
        let (mut ours, mut theirs) = (open(&mut a).await.unwrap(), open(&mut b).await.unwrap());
        ours.write_all(b"from the dialler").await.unwrap();
        theirs.write_all(b"from the listener").await.unwrap();
        ours.close().await.unwrap();
        theirs.close().await.unwrap();
        for (muxer, told) in [(&mut b, "from the dialler"), (&mut a, "from the listener")] {
            let mut heard = String::new();
            in_time("the bytes", accept(muxer).await.unwrap().read_to_string(&mut heard)).await.unwrap();
            assert_eq!(heard, told);
        }
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_no_other_up() {
    for ends in ALL {
        let (mut a, mut b) = connected(ends).await;
        let mut stuck = open(&mut a).await.unwrap();
        // It fills its window, and waits there for as long as nobody reads.
        let filling = tokio::spawn(async move { while stuck.write_all(&[0; 1 << 16]).await.is_ok() {} });
        let _unread = accept(&mut b).await.unwrap();
        echo(b);
        let mut stream = open(&mut a).await.unwrap();
        stream.write_all(b"past it").await.unwrap();
        stream.close().await.unwrap();
        let mut answer = Vec::new();
        in_time("the answer", stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, b"past it");
        assert!(!filling.is_finished());
        filling.abort();
    }
}

#[tokio::test]
async fn a_stream_dropped_before_it_was_flushed_or_closed_is_reset() {
    for ends in OURS_DIALS {
        let (mut a, mut b) = connected(ends).await;
        let mut stream = open(&mut a).await.unwrap();
        stream.write_all(b"half a mess").await.unwrap();
        let mut theirs = accept(&mut b).await.unwrap();
        drop(stream);
        let error = in_time("the reset", theirs.read_to_end(&mut Vec::new())).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        // And what is written to it goes nowhere.
        in_time("the refusal", async {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::task::yield_now().await
            }
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_flushed_arrives_even_if_the_stream_is_dropped_then() {
    for ends in OURS_DIALS {
        let (mut a, mut b) = connected(ends).await;
        let mut stream = open(&mut a).await.unwrap();
        stream.write_all(b"the last word").await.unwrap();
        stream.flush().await.unwrap();
        drop(stream);
        let mut bytes = Vec::new();
        in_time("the bytes", accept(&mut b).await.unwrap().read_to_end(&mut bytes)).await.unwrap();
        assert_eq!(bytes, b"the last word");
    }
}

#[tokio::test]
async fn what_was_written_before_closing_arrives_even_if_the_stream_is_dropped_then() {
    for ends in ALL {
        let (mut a, mut b) = connected(ends).await;
        let mut stream = open(&mut a).await.unwrap();
        stream.write_all(b"all of it").await.unwrap();
        stream.close().await.unwrap();
        drop(stream);
        let mut bytes = Vec::new();
        in_time("the bytes", accept(&mut b).await.unwrap().read_to_end(&mut bytes)).await.unwrap();
        assert_eq!(bytes, b"all of it");
    }
}

#[tokio::test]
async fn the_end_of_a_connection_ends_its_streams() {
    for ends in ALL {
        for close in [true, false] {
            let (mut a, mut b) = connected(ends).await;
            let mut ours = open(&mut a).await.unwrap();
            ours.write_all(b"x").await.unwrap();
            let mut theirs = accept(&mut b).await.unwrap();
            if close {
                a.close().await.unwrap();
            } else {
                drop((a, ours));
            }
            assert!(in_time("the end", theirs.read_to_end(&mut Vec::new())).await.is_err());
            assert!(accept(&mut b).await.is_err() && open(&mut b).await.is_err());
            b.close().await.unwrap();
        }
    }
}
