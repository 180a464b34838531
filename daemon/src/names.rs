//! Names for those whose packets a gateway forwards: their questions go on, as they are, to the resolvers of this host.
//!
//! It runs on ports that need no right and that the packet filter leads questions to. Nobody else is answered.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use node::drops::{DropCounters, DropReason};
use os::random::SystemRandom;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Questions that wait for an answer at a time; who asks more repeats it.
const QUESTIONS: usize = 256;
/// Connections at a time.
const CONNECTIONS: usize = 64;
/// How long one resolver has.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a connection lasts.
const CONVERSATION: Duration = Duration::from_secs(20);
/// Resolvers that are tried, as resolv.conf(5) has it.
const RESOLVERS: usize = 3;
/// Ports that are tried besides the first, where another program has the datagrams of one.
const PORTS: usize = 16;
const HEADER: usize = 12;
/// More than any resolver answers by UDP.
const LONGEST: usize = 4096;

/// Where questions go, asked anew for each.
pub type Resolvers = Arc<dyn Fn() -> Vec<SocketAddr> + Send + Sync>;

/// Answers until it is dropped.
pub struct Names {
    at: Vec<(IpAddr, u16)>,
    clients: Clients,
    /// They end with it.
    _tasks: JoinSet<()>,
}

type Clients = Arc<Mutex<BTreeSet<IpNet>>>;

impl Names {
    /// Answers on a free port of each address. What is not answered is counted in `drops`.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn start(
        addresses: impl IntoIterator<Item = IpAddr>,
        resolvers: Resolvers,
        drops: Arc<DropCounters>,
    ) -> io::Result<Self> {
        let (mut at, mut tasks) = (Vec::new(), JoinSet::new());
        let desk = Desk { clients: Clients::default(), resolvers, drops };
        for address in addresses {
            let (listener, socket) = both(address).await?;
            at.push((address, listener.local_addr()?.port()));
            tasks.spawn(desk.clone().answer_datagrams(Arc::new(socket)));
            tasks.spawn(desk.clone().answer_connections(listener));
        }
        Ok(Self { at, clients: desk.clients, _tasks: tasks })
    }

    /// Who is answered from now on.
    pub fn set_clients(&self, clients: &BTreeSet<IpNet>) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone_from(clients);
    }

    /// Where it answers.
    pub fn at(&self) -> &[(IpAddr, u16)] {
        &self.at
    }
}

/// A port of the address that is free both for connections and for datagrams.
async fn both(address: IpAddr) -> io::Result<(TcpListener, UdpSocket)> {
    // Held until the end: the next one is another.
    let mut taken = Vec::new();
    loop {
        let listener = TcpListener::bind((address, 0)).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && taken.len() < PORTS => taken.push(listener),
            Err(error) => return Err(error),
        }
    }
}

/// The resolvers that `/etc/resolv.conf` names now, but for our own addresses, which would lead questions in a circle; this
/// host itself where it names none.
pub fn resolvers_of_host(own: BTreeSet<IpAddr>) -> Resolvers {
    Arc::new(move || {
        let named = os::resolv_conf::name_servers(os::resolv_conf::PATH.as_ref()).unwrap_or_default();
        let mut servers: Vec<_> = named.into_iter().filter(|server| !own.contains(server)).take(RESOLVERS).collect();
        if servers.is_empty() {
            servers.push(Ipv4Addr::LOCALHOST.into());
        }
        servers.into_iter().map(|server| SocketAddr::new(server, 53)).collect()
    })
}

/// What all that answer share.
#[derive(Clone)]
struct Desk {
    clients: Clients,
    resolvers: Resolvers,
    drops: Arc<DropCounters>,
}

impl Desk {
    fn is_client(&self, source: IpAddr) -> bool {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|prefix| prefix.contains(&source))
    }

    /// A place for what `from` asks, while there is one for it.
    fn place(&self, places: &Arc<Semaphore>, from: SocketAddr) -> Result<OwnedSemaphorePermit, DropReason> {
        if !self.is_client(from.ip()) {
            return Err(DropReason::NamesStranger);
        }
        Arc::clone(places).try_acquire_owned().map_err(|_| DropReason::NamesBusy)
    }

    async fn answer_datagrams(self, socket: Arc<UdpSocket>) {
        let places = Arc::new(Semaphore::new(QUESTIONS));
        let mut buffer = vec![0; LONGEST];
        loop {
            // What a send before it met is told here, and is of no matter.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            let question = Question::read(&buffer[..length]).ok_or(DropReason::NamesMalformed);
            let taken = question.and_then(|question| Ok((question, self.place(&places, from)?)));
            let (question, place) = match taken {
                Ok(taken) => taken,
                Err(reason) => {
                    self.drops.count(reason);
                    continue;
                }
            };
            let (socket, servers, drops) = (Arc::clone(&socket), (self.resolvers)(), Arc::clone(&self.drops));
            tokio::spawn(async move {
                let answer = question.ask(&servers, &drops).await;
                let _ = socket.send_to(&answer, from).await;
                drop(place);
            });
        }
    }

    async fn answer_connections(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok((mut client, from)) = listener.accept().await else {
                // No descriptor is left: others have to close some first.
                tokio::time::sleep(PATIENCE).await;
                continue;
            };
            let place = match self.place(&places, from) {
                Ok(place) => place,
                Err(reason) => {
                    self.drops.count(reason);
                    continue;
                }
            };
            let (servers, drops) = ((self.resolvers)(), Arc::clone(&self.drops));
            tokio::spawn(async move {
                match connect(&servers).await {
                    Some(mut server) => {
                        let _ = timeout(CONVERSATION, copy_bidirectional(&mut client, &mut server)).await;
                    }
                    None => drops.count(DropReason::NamesUnanswered),
                }
                drop(place);
            });
        }
    }
}

async fn connect(servers: &[SocketAddr]) -> Option<TcpStream> {
    for server in servers {
        if let Ok(Ok(stream)) = timeout(PATIENCE, TcpStream::connect(server)).await {
            return Some(stream);
        }
    }
    None
}

/// A message with one question (RFC 1035, section 4).
struct Question {
    message: Vec<u8>,
    /// Where the question ends.
    end: usize,
}

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let is_question = message.get(2)? & 0x80 == 0 && message.get(4..6)? == [0, 1];
        let end = is_question.then(|| end_of_question(message))??;
        Some(Self { message: message.to_vec(), end })
    }

    /// The first answer that a resolver gives, or that there is none.
    async fn ask(&self, servers: &[SocketAddr], drops: &DropCounters) -> Vec<u8> {
        for server in servers {
            if let Ok(Ok(answer)) = timeout(PATIENCE, self.ask_one(*server, drops)).await {
                return answer;
            }
        }
        drops.count(DropReason::NamesUnanswered);
        self.failure()
    }

    /// Asks from a port and with a number of its own, so that nobody can guess both and answer in the resolver's place.
    async fn ask_one(&self, server: SocketAddr, drops: &DropCounters) -> io::Result<Vec<u8>> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        let mut number = [0; 2];
        node::crypto::RandomSource::fill(&mut SystemRandom, &mut number).map_err(io::Error::other)?;
        let mut message = self.message.clone();
        message[..2].copy_from_slice(&number);
        socket.send(&message).await?;
        let mut buffer = vec![0; LONGEST];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let answer = &mut buffer[..length];
            if answer.starts_with(&number) && self.is_answered_by(answer) {
                answer[..2].copy_from_slice(&self.message[..2]);
                return Ok(answer.to_vec());
            }
            drops.count(DropReason::NamesForeign);
        }
    }

    fn is_answered_by(&self, answer: &[u8]) -> bool {
        let is_answer = answer.get(2).is_some_and(|flags| flags & 0x80 != 0);
        // An answer that only says what is wrong may leave the question out.
        let same = || answer.get(HEADER..self.end) == self.message.get(HEADER..self.end);
        is_answer && (answer.get(4..6) == Some(&[0, 0]) || same())
    }

    /// "Server failure".
    fn failure(&self) -> Vec<u8> {
        let mut answer = self.message[..self.end].to_vec();
        (answer[2], answer[3]) = (0x80 | answer[2] & 0x79, 0x82);
        answer[6..HEADER].fill(0);
        answer
    }
}

fn end_of_question(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1 + length;
        match length {
            0 => break,
            1..=63 => {}
            // Nothing stands before it that it could point to.
            _ => return None,
        }
    }
    (message.len() >= at + 4).then_some(at + 4)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01";

    /// An address of this process's own: a port that is free for connections is free for datagrams, too, and one that was
    /// closed stays closed.
    fn here() -> IpAddr {
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 53, high, low).into()
    }

    /// A resolver that answers each question with itself and an address, after something that is no answer to it.
    async fn resolver() -> SocketAddr {
        let socket = UdpSocket::bind((here(), 0)).await.unwrap();
        let at = socket.local_addr().unwrap();
        let listener = TcpListener::bind(at).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let mut answer = buffer[..length].to_vec();
                assert_ne!(answer[..2], QUESTION[..2], "its own number");
                answer[2] |= 0x80;
                let mut forged = answer.clone();
                forged[0] ^= 1;
                let mut other = answer.clone();
                other[13] ^= 1;
                answer.push(0xaa);
                for message in [&buffer[..length], &forged[..], &other, &answer] {
                    socket.send_to(message, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(b"answer").await.unwrap();
            }
        });
        at
    }

    async fn names(servers: Vec<SocketAddr>, client: &str) -> (Names, SocketAddr, Arc<DropCounters>) {
        let drops = Arc::<DropCounters>::default();
        let names = Names::start([here()], Arc::new(move || servers.clone()), Arc::clone(&drops)).await.unwrap();
        names.set_clients(&[client.parse().unwrap()].into());
        let at = names.at()[0].into();
        (names, at, drops)
    }

    async fn asked(at: SocketAddr, question: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind((here(), 0)).await.unwrap();
        socket.send_to(question, at).await.unwrap();
        let mut buffer = [0; 512];
        let length = timeout(Duration::from_secs(20), socket.recv(&mut buffer)).await.unwrap().unwrap();
        buffer[..length].to_vec()
    }

    #[tokio::test]
    async fn a_question_gets_the_answer_to_it_and_no_other() {
        let (_names, at, drops) = names(vec![resolver().await], "127.0.0.0/8").await;
        let mut expected = QUESTION.to_vec();
        expected[2] |= 0x80;
        expected.push(0xaa);
        assert_eq!(asked(at, QUESTION).await, expected);
        assert_eq!(drops.snapshot(), [(DropReason::NamesForeign, 3)]);
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"four").await.unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn without_a_resolver_that_answers_the_failure_is_told() {
        let closed = UdpSocket::bind((here(), 0)).await.unwrap().local_addr().unwrap();
        let (_names, at, drops) = names(vec![closed], "127.0.0.0/8").await;
        let answer = asked(at, QUESTION).await;
        assert_eq!((answer[2], answer[3]), (0x81, 0x82));
        assert_eq!((&answer[..2], &answer[HEADER..]), (&QUESTION[..2], &QUESTION[HEADER..]));
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
        assert_eq!(drops.snapshot(), [(DropReason::NamesUnanswered, 2)]);
    }

    #[tokio::test]
    async fn who_is_not_forwarded_is_not_answered() {
        let asked = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&asked);
        let resolvers: Resolvers = Arc::new(move || {
            *counted.lock().unwrap() += 1;
            Vec::new()
        });
        let drops = Arc::<DropCounters>::default();
        let names = Names::start([here()], resolvers, Arc::clone(&drops)).await.unwrap();
        let at: SocketAddr = names.at()[0].into();
        let stranger = UdpSocket::bind((here(), 0)).await.unwrap();
        stranger.send_to(QUESTION, at).await.unwrap();
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
        until_counted(&drops, DropReason::NamesStranger, 2).await;
        names.set_clients(&[here().into()].into());
        let client = UdpSocket::bind((here(), 0)).await.unwrap();
        client.send_to(QUESTION, at).await.unwrap();
        client.recv(&mut [0; 512]).await.unwrap();
        assert_eq!((*asked.lock().unwrap(), drops.get(DropReason::NamesStranger)), (1, 2));
    }

    /// Waits until so many drops were counted.
    async fn until_counted(drops: &DropCounters, reason: DropReason, least: u64) {
        let enough = async {
            while drops.get(reason) < least {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), enough).await.unwrap();
    }

    #[tokio::test]
    async fn more_than_can_wait_is_dropped_and_so_is_what_is_no_question() {
        // It takes questions and connections, and never answers.
        let listener = TcpListener::bind((here(), 0)).await.unwrap();
        let silent = listener.local_addr().unwrap();
        let _socket = UdpSocket::bind(silent).await.unwrap();
        let (_names, at, drops) = names(vec![silent], "127.0.0.0/8").await;
        let client = UdpSocket::bind((here(), 0)).await.unwrap();
        client.send_to(&QUESTION[..HEADER], at).await.unwrap();
        until_counted(&drops, DropReason::NamesMalformed, 1).await;
        let mut connections = Vec::new();
        for _ in 0..=CONNECTIONS {
            connections.push(TcpStream::connect(at).await.unwrap());
        }
        until_counted(&drops, DropReason::NamesBusy, 1).await;
        // Those that waited for too long make room again.
        let asking = async {
            while drops.get(DropReason::NamesBusy) < 2 {
                client.send_to(QUESTION, at).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), asking).await.unwrap();
    }

    #[test]
    fn what_is_no_question_is_not_passed_on() {
        assert!(Question::read(QUESTION).is_some());
        for length in 0..QUESTION.len() {
            assert!(Question::read(&QUESTION[..length]).is_none(), "{length} bytes");
        }
        for (at, to) in [(2, 0x81), (5, 2), (5, 0), (HEADER, 0xc0)] {
            let mut message = QUESTION.to_vec();
            message[at] = to;
            assert!(Question::read(&message).is_none(), "byte {at} is {to}");
        }
    }
}
