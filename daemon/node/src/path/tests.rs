use super::candidates::Candidates;
use super::*;
use crate::crypto::RandomError;
use crate::epoch::EpochId;

/// Tokens that count up.
struct Counting(u64);

impl RandomSource for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        self.0 += 1;
        out.copy_from_slice(&self.0.to_le_bytes()[..out.len()]);
        Ok(())
    }
}

const CONNECTION: ConnectionId = ConnectionId(1);
const MTU: u16 = 1420;
const LIVE: Input = Input::Live { mtu: MTU };
const EPOCH: EpochId = EpochId(1);

const fn ms(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn at(remote: &str) -> Endpoint {
    Endpoint { remote: remote.parse().unwrap(), local: None }
}

fn home() -> Endpoint {
    at("192.0.2.1:41820")
}

fn elsewhere() -> Endpoint {
    at("198.51.100.7:50000")
}

fn paths() -> Paths {
    Paths::new(Box::new(Counting(0)))
}

impl Paths {
    fn tell(&mut self, now: u64, input: Input) -> Vec<Output> {
        self.handle(ms(now), input);
        std::iter::from_fn(|| self.poll_output()).collect()
    }

    /// Lets time pass, answering nothing; what it does and when, but for telling candidates.
    fn wait(&mut self, from: u64, until: u64) -> Vec<(u64, Output)> {
        let mut done = Vec::new();
        let mut now = from;
        while let Some(next) = self.deadline().map(|at| at.as_nanos() / 1_000_000).filter(|&at| at <= until) {
            now = now.max(next);
            let outputs = self.tell(now, Input::Timeout).into_iter().filter(|output| *output != Output::TellCandidates);
            done.extend(outputs.map(|output| (now, output)));
        }
        done
    }
}

/// The one probe among these.
fn probe(outputs: &[Output], to: Endpoint) -> [u8; 8] {
    let tokens = outputs.iter().filter_map(|output| match output {
        Output::Probe { token, to: at, size: None } if *at == to => Some(*token),
        Output::Probe { .. }
        | Output::Use(_)
        | Output::Mtu(_)
        | Output::Trust(_)
        | Output::TellCandidates
        | Output::CheckPath => None,
    });
    let [token] = tokens.collect::<Vec<_>>()[..] else { panic!("one probe to {to:?}: {outputs:?}") };
    token
}

/// The probes among these that ask for the MTU, with their sizes.
fn mtu_probes(outputs: &[Output]) -> Vec<([u8; 8], u16)> {
    let sized = outputs.iter().filter_map(|output| match output {
        Output::Probe { token, size: Some(size), .. } => Some((*token, *size)),
        Output::Probe { .. }
        | Output::Use(_)
        | Output::Mtu(_)
        | Output::Trust(_)
        | Output::TellCandidates
        | Output::CheckPath => None,
    });
    sized.collect()
}

/// Paths that have just begun to send datagrams home, and what they sent then.
fn arriving() -> (Paths, Vec<Output>) {
    let mut paths = paths();
    paths.tell(0, LIVE);
    let outputs = paths.tell(0, Input::Connected { connection: CONNECTION, endpoint: home() });
    let token = probe(&outputs, home());
    let outputs = paths.tell(10, Input::Acked { token, from: home() });
    assert_eq!(paths.current(), Path::Datagrams(home()));
    (paths, outputs)
}

/// Paths that send datagrams home, where packets of the whole MTU pass.
fn at_home() -> Paths {
    let (mut paths, outputs) = arriving();
    answer(&mut paths, 10, &outputs, MTU);
    paths
}

/// Answers the probes among these that a path of this MTU lets through; what is done then.
fn answer(paths: &mut Paths, now: u64, outputs: &[Output], mtu: u16) -> Vec<Output> {
    let passing = mtu_probes(outputs).into_iter().filter(|&(_, size)| size <= mtu);
    passing.flat_map(|(token, _)| paths.tell(now, Input::Acked { token, from: home() })).collect()
}

/// Lets time pass on a path of this MTU; what packets are kept to, and since when.
fn wait_on_a_path_of(mtu: u16, paths: &mut Paths, from: u64, until: u64) -> Vec<(u64, u16)> {
    let mut told = Vec::new();
    let mut now = from;
    while let Some(next) = paths.deadline().map(|at| at.as_nanos() / 1_000_000).filter(|&at| at <= until) {
        now = now.max(next);
        let mut outputs = paths.tell(now, Input::Timeout);
        outputs.extend(answer(paths, now, &outputs, mtu));
        told.extend(outputs.iter().filter_map(|output| match output {
            Output::Mtu(mtu) => Some((now, *mtu)),
            Output::Probe { .. } | Output::Use(_) | Output::Trust(_) | Output::TellCandidates | Output::CheckPath => {
                None
            }
        }));
    }
    told
}

#[test]
fn an_answered_probe_moves_the_frames_to_datagrams_and_nothing_else_does() {
    let mut paths = paths();
    let connected = Input::Connected { connection: CONNECTION, endpoint: home() };
    assert_eq!(paths.tell(0, connected), [], "without keys there is nothing to probe with");
    let token = probe(&paths.tell(5, LIVE), home());
    assert_eq!(paths.tell(6, Input::Acked { token: [0xff; 8], from: home() }), [], "not a token of ours");
    assert_eq!(paths.tell(7, Input::Acked { token, from: elsewhere() }), [], "not the address that was asked");
    let trust = Trust { endpoint: Some(home().remote), proposed: None };
    let entered = paths.tell(8, Input::Acked { token, from: home() });
    assert_eq!(entered[..2], [Output::Trust(trust), Output::Use(Path::Datagrams(home()))]);
    assert_eq!(paths.tell(9, Input::Acked { token, from: home() }), [], "once");
}

#[test]
fn an_endpoint_is_tried_with_growing_pauses_for_as_long_as_its_connection_stands() {
    let mut paths = paths();
    paths.tell(0, LIVE);
    paths.tell(0, Input::Connected { connection: CONNECTION, endpoint: home() });
    let times: Vec<u64> = paths.wait(0, 17_000).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [200, 600, 1400, 3000, 6200, 11_200, 16_200]);
    paths.tell(17_000, Input::Disconnected { connection: CONNECTION });
    assert_eq!(paths.wait(17_000, 100_000), [], "it never answered, so nothing is remembered");
}

#[test]
fn a_dead_path_leads_back_to_the_stream_and_forward_again_once_it_answers() {
    let mut paths = at_home();
    let stream = [Output::Trust(Trust::default()), Output::Use(Path::Stream)];
    assert_eq!(paths.tell(60_000, Input::Dead), stream);
    assert_eq!(paths.tell(60_000, Input::Dead), [], "of the stream the tunnel takes care itself");
    paths.tell(60_500, Input::Disconnected { connection: CONNECTION });
    let tried = paths.wait(60_500, 72_000);
    let times: Vec<u64> = tried.iter().map(|&(at, _)| at).collect();
    assert_eq!(times, [61_000, 62_000, 64_000, 68_000], "though its connection is gone");
    let Some(&(_, Output::Probe { token, to, size: None })) = tried.last() else { panic!() };
    paths.tell(72_010, Input::Acked { token, from: to });
    assert_eq!(paths.current(), Path::Datagrams(home()));
}

#[test]
fn an_endpoint_that_is_gone_for_good_is_forgotten() {
    let mut paths = at_home();
    paths.tell(1000, Input::Dead);
    paths.tell(1000, Input::Disconnected { connection: CONNECTION });
    paths.wait(1000, 700_000);
    assert_eq!(paths.wait(700_000, 5_000_000), []);
}

#[test]
fn new_keys_after_none_begin_on_the_stream() {
    let mut paths = at_home();
    assert_eq!(paths.tell(50, Input::NotLive), [], "nothing is sent now, whatever the path");
    assert_eq!(paths.wait(50, 5000), [], "and nothing asked");
    let outputs = paths.tell(5000, LIVE);
    assert!(outputs.contains(&Output::Use(Path::Stream)) && paths.current() == Path::Stream);
    probe(&outputs, home());
    let mut rotated = at_home();
    assert_eq!(rotated.tell(50, LIVE), [], "a rotation changes no path");
}

#[test]
fn what_is_told_late_of_keys_that_are_gone_begins_nothing() {
    let mut paths = at_home();
    paths.tell(20, Input::Heard { via: Path::Datagrams(home()) });
    paths.tell(30, Input::NotLive);
    let moved = Input::Moved { from: elsewhere(), epoch: EPOCH, counter: 9 };
    for late in [Input::Heard { via: Path::Stream }, Input::Dead, moved, Input::Stayed, Input::Sending] {
        assert_eq!(paths.tell(2000, late), []);
        assert!(paths.deadline().is_none_or(|at| at > ms(10_000)), "{late:?} is due for ever");
    }
}

#[test]
fn a_peer_that_moved_is_followed_when_it_answers_from_there() {
    let mut paths = at_home();
    let outputs = paths.tell(1000, Input::Moved { from: elsewhere(), epoch: EPOCH, counter: 77 });
    let token = probe(&outputs, elsewhere());
    probe(&outputs, home());
    let trust = Trust { endpoint: Some(home().remote), proposed: Some((EPOCH, 77)) };
    assert_eq!(outputs[2..], [Output::Trust(trust)]);
    let moved = paths.tell(1040, Input::Acked { token, from: elsewhere() });
    let trust = Trust { endpoint: Some(elsewhere().remote), proposed: None };
    let told = Output::TellCandidates;
    assert_eq!(moved[..3], [told, Output::Trust(trust), Output::Use(Path::Datagrams(elsewhere()))]);
    assert_eq!(mtu_probes(&moved).len(), 1, "another path may have another MTU");
}

#[test]
fn a_frame_delivered_from_elsewhere_moves_nothing_and_draws_at_most_two_probes() {
    let mut paths = at_home();
    let moved = |counter| Input::Moved { from: elsewhere(), epoch: EPOCH, counter };
    let token = probe(&paths.tell(1000, moved(77)), elsewhere());
    for now in 1001..1200 {
        assert_eq!(paths.tell(now, moved(now)), [], "one pair each 200 ms");
    }
    let kept = Trust { endpoint: Some(home().remote), proposed: None };
    assert_eq!(paths.tell(1200, Input::Stayed), [Output::Trust(kept)]);
    assert_eq!(paths.tell(1201, Input::Acked { token, from: elsewhere() }), [], "too late");
    assert_eq!(paths.tell(1300, moved(1300)), [], "the old endpoint spoke a moment ago");
    assert_eq!(paths.current(), Path::Datagrams(home()));
    paths.tell(1900, Input::Heard { via: Path::Datagrams(home()) });
    assert_eq!(paths.tell(2500, moved(2500)), [], "and speaks on");
    probe(&paths.tell(2900, moved(2900)), elsewhere());
}

#[test]
fn a_proposal_without_an_answer_expires() {
    let mut paths = at_home();
    paths.tell(1000, Input::Moved { from: elsewhere(), epoch: EPOCH, counter: 77 });
    let kept = Trust { endpoint: Some(home().remote), proposed: None };
    assert_eq!(paths.wait(1000, 10_000), [(6000, Output::Trust(kept))]);
}

#[test]
fn a_peer_whose_frames_come_another_way_makes_ours_be_checked_once() {
    let mut paths = at_home();
    let stream = Input::Heard { via: Path::Stream };
    let home_again = Input::Heard { via: Path::Datagrams(home()) };
    assert_eq!(paths.tell(20, home_again), []);
    assert_eq!(paths.tell(30, stream), [Output::CheckPath]);
    assert_eq!(paths.tell(40, stream), []);
    assert_eq!(paths.tell(50, Input::Heard { via: Path::Datagrams(elsewhere()) }), [Output::CheckPath]);
    assert_eq!(paths.tell(60, home_again), []);
    assert_eq!(paths.tell(70, stream), [Output::CheckPath]);
}

#[test]
fn a_peer_that_has_given_datagrams_up_is_followed_at_once() {
    let mut paths = at_home();
    let stream = Input::Heard { via: Path::Stream };
    let home_again = Input::Heard { via: Path::Datagrams(home()) };
    assert_eq!(paths.tell(1500, stream), [Output::CheckPath], "it may not have begun with datagrams");
    assert_eq!(paths.tell(2000, home_again), []);
    assert_eq!(paths.tell(2999, stream), [Output::CheckPath], "what comes late by the stream proves nothing");
    let outputs = paths.tell(3000, stream);
    assert!(outputs.contains(&Output::Use(Path::Stream)), "{outputs:?}");
    // And the way is tried again.
    let tried = paths.tell(4000, Input::Timeout);
    paths.tell(4010, Input::Acked { token: probe(&tried, home()), from: home() });
    assert_eq!(paths.current(), Path::Datagrams(home()));
    let outputs = paths.tell(9000, stream);
    assert!(outputs.contains(&Output::CheckPath), "{outputs:?}");
    assert_eq!(paths.current(), Path::Datagrams(home()), "until the peer is back there it is not followed again");
}

#[test]
fn an_answer_proves_the_path_only_where_frames_go() {
    let at_home = at_home();
    let other_local = Endpoint { local: Some("192.0.2.9".parse().unwrap()), ..home() };
    assert!(at_home.is_current(Path::Datagrams(other_local)) && !at_home.is_current(Path::Stream));
    assert!(!at_home.is_current(Path::Datagrams(elsewhere())));
    assert!(paths().is_current(Path::Stream));
}

#[test]
fn what_was_tried_in_vain_is_tried_at_once_when_this_host_moved() {
    for moved in [Input::NetworkChanged, Input::SeenElsewhere] {
        let mut paths = at_home();
        paths.tell(1000, Input::Dead);
        paths.wait(1000, 40_000);
        probe(&paths.tell(41_000, moved), home());
    }
}

#[test]
fn the_mtu_of_the_tunnel_is_used_at_once_and_asked_for() {
    let (mut paths, outputs) = arriving();
    let [(token, size)] = mtu_probes(&outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!((paths.mtu(), size), (MTU, MTU));
    assert_eq!(
        paths.tell(20, Input::Acked { token, from: elsewhere() }),
        [],
        "an answer from elsewhere proves nothing"
    );
    paths.tell(30, Input::Acked { token, from: home() });
    assert_eq!((paths.mtu(), mtu_probes(&paths.tell(1000, Input::Timeout))), (MTU, vec![]), "and never again unasked");
}

#[test]
fn a_shorter_path_is_found_within_four_seconds_and_in_between_the_least_mtu_passes() {
    for mtu in [1280, 1281, 1300, 1340, 1372, 1412, 1416, 1419] {
        let (mut paths, _) = arriving();
        let told = wait_on_a_path_of(mtu, &mut paths, 10, 5000);
        assert_eq!(told[0].1, LEAST_MTU, "{told:?}");
        assert!(told[0].0 <= 1510 && told.last().unwrap().0 <= 4010, "{told:?}");
        assert!(paths.mtu() <= mtu && paths.mtu() + 4 >= mtu, "{mtu}: {}", paths.mtu());
        assert_eq!(paths.current(), Path::Datagrams(home()));
    }
}

#[test]
fn a_probe_that_is_lost_by_chance_makes_no_path_shorter() {
    let (mut paths, _) = arriving();
    let mut lost = 0;
    let mut now = 10;
    while let Some(next) = paths.deadline().map(|at| at.as_nanos() / 1_000_000).filter(|&at| at <= 6000) {
        now = now.max(next);
        let outputs = paths.tell(now, Input::Timeout);
        // Of each row that was not asked before one more is lost.
        for (number, (token, size)) in mtu_probes(&outputs).into_iter().enumerate() {
            if size <= 1372 && (number % 3 != 1 || now / 500 % 2 == 0) {
                paths.tell(now, Input::Acked { token, from: home() });
            } else if size <= 1372 {
                lost += 1;
            }
        }
    }
    assert!(lost > 1 && (1368..=1372).contains(&paths.mtu()), "{lost}: {}", paths.mtu());
}

#[test]
fn a_path_that_takes_less_than_the_least_mtu_is_left_for_the_stream_and_not_tried_for_long() {
    let (mut paths, _) = arriving();
    wait_on_a_path_of(1279, &mut paths, 10, 5000);
    assert_eq!((paths.current(), paths.mtu()), (Path::Stream, MTU));
    assert_eq!(paths.wait(5000, 500_000), [], "though short probes pass");
    assert_eq!(paths.tell(500_000, Input::Moved { from: home(), epoch: EPOCH, counter: 7 }), []);
    assert_eq!(paths.tell(500_001, Input::SeenElsewhere), [], "whatever a peer says");
    probe(&paths.tell(500_002, Input::NetworkChanged), home());
}

#[test]
fn a_path_on_which_nothing_is_answered_is_not_taken_for_narrow() {
    let (mut paths, _) = arriving();
    for (now, output) in paths.wait(10, 60_000) {
        assert!(matches!(output, Output::Probe { .. } | Output::Mtu(LEAST_MTU)), "{now}: {output:?}");
    }
    assert_eq!((paths.current(), paths.narrow()), (Path::Datagrams(home()), None), "the tunnel says when it is dead");
    assert!(paths.mtu.as_ref().is_some_and(|mtu| mtu.asked() <= 3 * 9), "answers to older probes are not waited for");
    paths.tell(60_000, Input::Dead);
    probe(&paths.tell(61_000, Input::Timeout), home());
}

#[test]
fn a_tunnel_of_less_than_the_least_mtu_asks_for_its_own() {
    let mut paths = paths();
    paths.tell(0, Input::Live { mtu: 600 });
    let outputs = paths.tell(0, Input::Connected { connection: CONNECTION, endpoint: home() });
    let token = probe(&outputs, home());
    paths.tell(10, Input::Acked { token, from: home() });
    wait_on_a_path_of(599, &mut paths, 10, 10_000);
    assert_eq!((paths.current(), paths.mtu()), (Path::Stream, 600));
}

#[test]
fn a_path_that_becomes_shorter_is_noticed_while_packets_are_sent() {
    let mut paths = at_home();
    assert_eq!(paths.tell(4000, Input::Sending), [], "it was asked a moment ago");
    let outputs = paths.tell(6000, Input::Sending);
    assert_eq!(mtu_probes(&outputs).len(), 1);
    answer(&mut paths, 6000, &outputs, MTU);
    paths.tell(12_000, Input::Sending);
    let told = wait_on_a_path_of(1350, &mut paths, 12_000, 20_000);
    assert_eq!(told[0], (13_500, LEAST_MTU));
    assert!((1346..=1350).contains(&paths.mtu()), "{told:?}");
}

#[test]
fn a_path_that_becomes_longer_is_found_in_time_whether_or_not_packets_are_sent() {
    for sending in [false, true] {
        let (mut paths, _) = arriving();
        wait_on_a_path_of(1300, &mut paths, 10, 5000);
        let known = paths.mtu();
        let mut told = Vec::new();
        for now in (10_000..590_000).step_by(10_000).filter(|_| sending) {
            let outputs = paths.tell(now, Input::Sending);
            answer(&mut paths, now, &outputs, 1300);
            told.extend(wait_on_a_path_of(1300, &mut paths, now, now + 9000));
        }
        assert_eq!((told, paths.mtu()), (vec![], known));
        wait_on_a_path_of(MTU, &mut paths, 590_000, 610_000);
        assert_eq!(paths.mtu(), MTU);
    }
}

#[test]
fn where_a_longer_mtu_is_tried_in_vain_packets_are_kept_to_the_known_one_meanwhile() {
    let (mut paths, _) = arriving();
    wait_on_a_path_of(1300, &mut paths, 10, 5000);
    let told = wait_on_a_path_of(1300, &mut paths, 5000, 620_000);
    assert!(told.iter().all(|&(_, mtu)| mtu >= 1296), "{told:?}");
}

/// When the peer is told where this host may be reached.
fn told_candidates(paths: &mut Paths, from: u64, until: u64) -> Vec<u64> {
    let mut told = Vec::new();
    let mut now = from;
    while let Some(next) = paths.deadline().map(|at| at.as_nanos() / 1_000_000).filter(|&at| at <= until) {
        now = now.max(next);
        told.extend(paths.tell(now, Input::Timeout).iter().filter(|o| **o == Output::TellCandidates).map(|_| now));
    }
    told
}

#[test]
fn candidates_are_told_ever_more_rarely_while_only_the_stream_is_left() {
    let mut paths = paths();
    assert_eq!(told_candidates(&mut paths, 0, 10_000), [0_u64; 0], "without keys there is nothing to try with");
    paths.tell(0, LIVE);
    assert_eq!(told_candidates(&mut paths, 0, 80_000), [1000, 6000, 16_000, 36_000, 76_000]);
    paths.tell(80_000, Input::NetworkChanged);
    assert_eq!(told_candidates(&mut paths, 80_000, 90_000), [81_000, 86_000]);
    let mut direct = at_home();
    assert_eq!(told_candidates(&mut direct, 10, 100_000), [0_u64; 0]);
    direct.tell(100_000, Input::Dead);
    assert_eq!(told_candidates(&mut direct, 100_000, 102_000), [101_000]);
}

#[test]
fn a_candidate_gets_five_probes_and_an_answer_moves_the_frames_there() {
    let mut paths = paths();
    paths.tell(0, LIVE);
    let elsewhere = Endpoint { local: None, ..elsewhere() };
    paths.take_candidates(ms(500), &[elsewhere.remote]);
    let first: Vec<_> = std::iter::from_fn(|| paths.poll_output()).collect();
    probe(&first, elsewhere);
    assert!(first.contains(&Output::TellCandidates), "ours are told in return");
    let later = paths.wait(500, 60_000);
    assert_eq!(later.iter().map(|&(at, _)| at).collect::<Vec<_>>(), [700, 1100, 1900, 3500]);
    assert_eq!(paths.current(), Path::Stream);
    paths.take_candidates(ms(61_000), &[elsewhere.remote]);
    let again: Vec<_> = std::iter::from_fn(|| paths.poll_output()).collect();
    let token = probe(&again, elsewhere);
    paths.take_candidates(ms(62_000), &[home().remote]);
    assert_eq!(paths.poll_output(), None, "one message is acted on each two seconds");
    paths.tell(62_100, Input::Acked { token, from: elsewhere });
    assert_eq!(paths.current(), Path::Datagrams(elsewhere));
}

#[test]
fn a_peer_that_is_reached_by_datagrams_but_does_not_reach_us_is_told_our_candidates() {
    let mut paths = at_home();
    paths.take_candidates(ms(1000), &[elsewhere().remote]);
    let outputs: Vec<_> = std::iter::from_fn(|| paths.poll_output()).collect();
    assert_eq!(outputs, [Output::TellCandidates], "and nothing is tried, since frames have a way");
}

#[test]
fn candidates_read_back_as_written_and_at_most_eight_are() {
    let many = (1..=9).map(|n| format!("203.0.113.{n}:41820").parse().unwrap()).collect();
    let mut told = Candidates { addresses: many, observed: Some("[2001:db8::9]:1".parse().unwrap()) };
    let message = told.to_bytes();
    told.addresses.truncate(8);
    assert_eq!(Candidates::from_bytes(&message).unwrap(), told);
    assert!(Candidates::from_bytes(&[&message[..], &message[..9]].concat()).is_err());
    assert!(Candidates::from_bytes(&message[..8]).is_err());
    assert_eq!(Candidates::from_bytes(&[]).unwrap(), Candidates::default());
}
