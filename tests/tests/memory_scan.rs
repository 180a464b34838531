//! Old keys are gone from memory (protocol.md 9): a process fills epochs, rotates, drops, and looks for its own keys
//! in its own memory.
//!
//! To look for a key one has to have it, and then it is found. So the test runs the same simulated pair twice. The
//! first process computes all keys by the reference, and gives them to a second one with every bit flipped. That one
//! holds a key as it is only where the product puts it, and flips the bits of what it reads.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cryprq_tests::oracle;
use cryprq_tests::reference::LABELS;
use cryprq_tests::sim::{Setup, World, ms, secs};
use node::secret::{SecretKey32, SecretStore};
use node::tunnel::{Input, Want};
use os::memory::{IfUnlocked, LockedStore};
use zeroize::{Zeroize, Zeroizing};

const CHILD: &str = "CRYPRQ_SCAN_CHILD";
const ROTATIONS: usize = 4;
const CHUNK: usize = 1 << 20;
const KEY: usize = 32;

/// A key with every bit flipped.
type Flipped = [u8; KEY];

fn flip(key: [u8; KEY]) -> Flipped {
    key.map(|byte| !byte)
}

/// The PSK of both hosts, flipped.
const PSK: Flipped = [
    0x11, 0x2b, 0x83, 0xe4, 0x59, 0x6a, 0x77, 0x8d, 0x99, 0xa1, 0xb3, 0xc5, 0xd7, 0xe9, 0xfb, 0x0d, 0x1f, 0x21, 0x33,
    0x45, 0x57, 0x69, 0x7b, 0x8e, 0x9f, 0xa2, 0xb4, 0xc6, 0xd8, 0xea, 0xfc, 0x0e,
];

fn locked_store() -> Arc<dyn SecretStore> {
    Arc::new(LockedStore::new(64, IfUnlocked::Use).expect("pages for secrets"))
}

/// Where the story stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// This many rotations are done, and the previous key had its time.
    Rotated(usize),
    /// The peers removed each other.
    Removed,
}

/// A pair that meets, rotates a few times, and parts.
fn story(mut look: impl FnMut(Moment, &mut World)) -> World {
    let mut setup = Setup::pair(0x7363_616e);
    setup.store = Some(locked_store);
    let mut world = World::new(setup);
    world.transcript = Some(Vec::new());
    for (host, peer) in world.pairs() {
        set_psk(&mut world, host, peer);
    }
    world.run(secs(1));
    for turn in 0..=ROTATIONS {
        if turn > 0 {
            let host = turn % 2;
            world.input(host, 1 - host, Input::Rotate);
        }
        for _ in 0..50 {
            world.send_packets(0, 1, 1);
            world.send_packets(1, 0, 2);
            world.run(ms(100));
        }
        world.run(secs(60));
        world.assert_connected();
        look(Moment::Rotated(turn), &mut world);
    }
    for (host, peer) in world.pairs() {
        world.input(host, peer, Input::Wanted(Want::Down));
        world.input(host, peer, Input::EraseAll);
        world.input(host, peer, Input::PskChanged(None));
    }
    world.run(secs(1));
    look(Moment::Removed, &mut world);
    world
}

/// The key is unflipped in place, and wiped.
#[inline(never)]
fn set_psk(world: &mut World, host: usize, peer: usize) {
    let mut psk = Zeroizing::new([0; KEY]);
    psk.iter_mut().zip(std::hint::black_box(PSK)).for_each(|(to, from)| *to = !from);
    let kept = locked_store().keep(SecretKey32::new(*psk)).expect("the store has room");
    world.input(host, peer, Input::PskChanged(Some(kept)));
}

/// What to look for, by the number of its handshake and its name.
type Wanted = BTreeMap<(usize, String), Flipped>;

/// The first process: tells the second what to look for.
fn keys_by_the_reference() -> Wanted {
    let mut world = story(|_, _| {});
    for (host, peer) in world.pairs() {
        world.note_psk(host, peer, flip(std::hint::black_box(PSK)));
    }
    let mut wanted = Wanted::new();
    for (number, known) in oracle::handshakes(&world).iter().enumerate() {
        for (label, key) in LABELS.iter().zip(known.values.keys) {
            wanted.insert((number, (*label).to_owned()), flip(key));
        }
        wanted.insert((number, "prk".to_owned()), flip(known.values.prk));
    }
    assert_eq!(wanted.len(), (ROTATIONS + 1) * (LABELS.len() + 1));
    wanted
}

/// Whether a key is in use: the present epoch's. What only its handshake needed goes with that.
fn is_in_use(moment: Moment, number: usize, name: &str) -> bool {
    moment == Moment::Rotated(number) && ["data i2r", "data r2i", "chain"].contains(&name)
}

/// The second process.
fn look_for(wanted: &Wanted) {
    let mut scanner = Scanner::new(wanted.values().chain([&PSK]).copied().collect());
    let mut faults = Vec::new();
    let mut found_alive = 0;
    story(|moment, _| {
        let places = scanner.scan();
        for (at, ((number, name), _)) in wanted.iter().enumerate() {
            let found = &places[at];
            match (is_in_use(moment, *number, name), found.is_empty()) {
                (true, true) => faults.push(format!("{moment:?}: {name} of epoch {number} is not found")),
                (true, false) => found_alive += 1,
                (false, true) => {}
                (false, false) => faults.push(format!("{moment:?}: {name} of epoch {number} is in {found:?}")),
            }
        }
        let psk = &places[wanted.len()];
        if psk.is_empty() != (moment == Moment::Removed) {
            faults.push(format!("{moment:?}: the PSK is in {psk:?}"));
        }
    });
    println!("{} bytes read; {found_alive} keys found while they were in use", scanner.read);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(found_alive, 3 * (ROTATIONS + 1));
}

/// Reads the memory of its own process.
struct Scanner {
    wanted: Vec<Flipped>,
    /// Whether a key begins with these two bytes, flipped.
    begins: Vec<bool>,
    buffer: Vec<u8>,
    read: usize,
}

impl Scanner {
    fn new(wanted: Vec<Flipped>) -> Self {
        let mut begins = vec![false; 1 << 16];
        for key in &wanted {
            begins[usize::from(u16::from_be_bytes([key[0], key[1]]))] = true;
        }
        Self { wanted, begins, buffer: vec![0; CHUNK + KEY], read: 0 }
    }

    /// For each key the regions that it is in.
    fn scan(&mut self) -> Vec<Vec<String>> {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has /proc");
        let memory = File::open("/proc/self/mem").expect("a process may read itself");
        let mut places = vec![Vec::new(); self.wanted.len()];
        let mut buffer = std::mem::take(&mut self.buffer);
        let own = buffer.as_ptr().addr()..buffer.as_ptr().addr() + buffer.len();
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
            let name = fields.nth(3).unwrap_or("anonymous memory");
            if !rights.starts_with('r') || name == "[vvar]" || name == "[vsyscall]" {
                continue;
            }
            let (start, end) = range.split_once('-').expect("a range");
            let address = |text: &str| usize::from_str_radix(text, 16).expect("hexadecimal");
            for at in (address(start)..address(end)).step_by(CHUNK) {
                let length = (address(end) - at).min(buffer.len());
                // Some mappings of devices cannot be read.
                if memory.read_exact_at(&mut buffer[..length], at as u64).is_err() {
                    continue;
                }
                self.read += length;
                self.search(&buffer[..length], |key, place| {
                    if !own.contains(&(at + place)) {
                        places[key].push(format!("{name} {rights}"));
                    }
                });
            }
        }
        buffer.zeroize();
        buffer.resize(CHUNK + KEY, 0);
        self.buffer = buffer;
        places
    }

    fn search(&self, bytes: &[u8], mut found: impl FnMut(usize, usize)) {
        for (place, window) in bytes.windows(KEY).enumerate() {
            if !self.begins[usize::from(u16::from_be_bytes([!window[0], !window[1]]))] {
                continue;
            }
            for (key, wanted) in self.wanted.iter().enumerate() {
                if window.iter().zip(wanted).all(|(&byte, &flipped)| !byte == flipped) {
                    found(key, place);
                }
            }
        }
    }
}

#[test]
fn old_keys_are_gone_from_memory_and_those_in_use_are_found() {
    if std::env::var_os(CHILD).is_some() {
        let lines = std::io::stdin().lock().lines().map(|line| line.expect("text"));
        let wanted: Wanted = lines
            .map(|line| {
                let [number, name, key] = line.splitn(3, '\t').collect::<Vec<_>>().try_into().expect("three fields");
                let key = data_encoding::HEXLOWER.decode(key.as_bytes()).expect("hexadecimal");
                ((number.parse().expect("a number"), name.to_owned()), key.try_into().expect("32 bytes"))
            })
            .collect();
        return look_for(&wanted);
    }
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "old_keys_are_gone_from_memory_and_those_in_use_are_found", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program runs again");
    let mut stdin = child.stdin.take().expect("it is piped");
    for ((number, name), key) in keys_by_the_reference() {
        writeln!(stdin, "{number}\t{name}\t{}", data_encoding::HEXLOWER.encode(&key)).expect("the child reads");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("the child ends");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
