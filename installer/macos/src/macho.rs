//! Whether a file is a program for every Mac that the package is for. What it does is not looked at.

use anyhow::{Context, Result, bail, ensure};

/// The oldest macOS that the package installs on.
pub(crate) const OLDEST: (u16, u8) = (13, 0);

/// What the package is for: the name that Apple's tools use, and the number of mach/machine.h.
const PROCESSORS: [(&str, u32); 2] = [("arm64", 0x0100_000c), ("x86_64", 0x0100_0007)];
/// The first number of a file for several processors, and the length of its header and of each entry.
const UNIVERSAL: u32 = 0xcafe_babe;
const UNIVERSAL_HEAD: usize = 8;
const UNIVERSAL_ENTRY: usize = 20;
/// The first number of a 64-bit file for one processor, its header's length, and the kind that can be started.
const THIN: u32 = 0xfeed_facf;
const THIN_HEAD: usize = 32;
const EXECUTABLE: u32 = 2;
/// Load commands that are looked at, of mach-o/loader.h, and the number of macOS as a platform.
const CODE_SIGNATURE: u32 = 0x1d;
const BUILD_VERSION: u32 = 0x32;
const MACOS: u32 = 1;

/// Checks that `file` is an executable for arm64 and for x86_64, both for macOS [`OLDEST`] or older.
///
/// # Errors
/// What it is instead, or what it lacks.
pub(crate) fn check(file: &[u8]) -> Result<()> {
    let first = big(file, 0).context("it is empty")?;
    if first == THIN.swap_bytes() {
        let processor = little(file, 4)?;
        bail!("it is for {} alone: join one for arm64 and one for x86_64 with lipo", name_of(processor));
    }
    ensure!(first == UNIVERSAL, "it is no Mach-O file: it begins with {first:08x}");
    let mut found = Vec::new();
    for at in 0..usize::try_from(big(file, 4)?)? {
        let entry = UNIVERSAL_HEAD + at * UNIVERSAL_ENTRY;
        let [processor, offset, length] = [0, 8, 12].map(|field| big(file, entry + field));
        let (processor, offset, length) = (processor?, usize::try_from(offset?)?, usize::try_from(length?)?);
        let end = offset.checked_add(length).context("it is damaged")?;
        let part = file.get(offset..end).context("it is cut off")?;
        let name = name_of(processor);
        part_is_good(part, processor).with_context(|| format!("its part for {name}"))?;
        found.push(name);
    }
    found.sort();
    ensure!(
        found == PROCESSORS.map(|(name, _)| name),
        "it is for {}, and not for arm64 and x86_64",
        found.join(" and ")
    );
    Ok(())
}

fn part_is_good(part: &[u8], processor: u32) -> Result<()> {
    ensure!(little(part, 0)? == THIN, "is no 64-bit Mach-O file");
    let inside = little(part, 4)?;
    ensure!(inside == processor, "is for {}", name_of(inside));
    ensure!(little(part, 12)? == EXECUTABLE, "is no program");
    let (mut at, mut signed, mut built) = (THIN_HEAD, false, false);
    for _ in 0..little(part, 16)? {
        let (command, length) = (little(part, at)?, usize::try_from(little(part, at + 4)?)?);
        ensure!(length >= 8, "is damaged");
        if command == CODE_SIGNATURE {
            signed = true;
        } else if command == BUILD_VERSION {
            let (platform, oldest) = (little(part, at + 8)?, little(part, at + 12)?);
            ensure!(platform == MACOS, "is for another system of Apple's, number {platform}");
            let [_, minor, b, a] = oldest.to_le_bytes();
            let needs = (u16::from_be_bytes([a, b]), minor);
            ensure!(
                needs <= OLDEST,
                "needs macOS {}.{}, and the package is for {}.{}",
                needs.0,
                needs.1,
                OLDEST.0,
                OLDEST.1
            );
            built = true;
        }
        at = at.checked_add(length).context("is damaged")?;
    }
    ensure!(built, "does not say for which system it is");
    // On these processors macOS ends a program without one at its start. The linker's own is enough.
    ensure!(signed || processor != PROCESSORS[0].1, "has no code signature");
    Ok(())
}

fn name_of(processor: u32) -> String {
    let known = PROCESSORS.iter().find(|(_, number)| *number == processor);
    known.map_or_else(|| format!("processor {processor:#x}"), |(name, _)| (*name).to_owned())
}

fn big(bytes: &[u8], at: usize) -> Result<u32> {
    let found = at.checked_add(4).and_then(|end| bytes.get(at..end)).context("it is cut off")?;
    Ok(u32::from_be_bytes(found.try_into()?))
}

fn little(bytes: &[u8], at: usize) -> Result<u32> {
    big(bytes, at).map(u32::swap_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and two load commands: for which system, and a signature.
    fn thin(processor: u32, kind: u32, system: u32, oldest: u32) -> Vec<u8> {
        let head = [THIN, processor, 0, kind, 2, 40, 0, 0];
        let commands = [BUILD_VERSION, 24, system, oldest, 0, 0, CODE_SIGNATURE, 16, 0, 0];
        head.iter().chain(&commands).flat_map(|number| number.to_le_bytes()).collect()
    }

    fn good(processor: u32) -> Vec<u8> {
        thin(processor, EXECUTABLE, MACOS, 0x000d_0000)
    }

    fn universal(parts: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut head = vec![UNIVERSAL, u32::try_from(parts.len()).unwrap()];
        let mut body = Vec::new();
        for (processor, part) in parts {
            let offset = UNIVERSAL_HEAD + parts.len() * UNIVERSAL_ENTRY + body.len();
            head.extend([*processor, 0, u32::try_from(offset).unwrap(), u32::try_from(part.len()).unwrap(), 0]);
            body.extend(part);
        }
        head.iter().flat_map(|number| number.to_be_bytes()).chain(body).collect()
    }

    const ARM: u32 = PROCESSORS[0].1;
    const INTEL: u32 = PROCESSORS[1].1;

    #[test]
    fn a_program_for_both_processors_is_taken() {
        check(&universal(&[(INTEL, good(INTEL)), (ARM, good(ARM))])).unwrap();
    }

    #[test]
    fn what_is_no_program_for_both_is_refused_with_the_reason() {
        let both = |part: fn(u32) -> Vec<u8>| universal(&[(INTEL, good(INTEL)), (ARM, part(ARM))]);
        let unsigned = |processor| {
            let mut part = good(processor);
            part[THIN_HEAD + 24] = 1;
            part
        };
        for (file, reason) in [
            (Vec::new(), "cut off"),
            (b"\x7fELF\x02\x01\x01\x00".to_vec(), "no Mach-O file: it begins with 7f454c46"),
            (good(ARM), "for arm64 alone"),
            (universal(&[(ARM, good(ARM))]), "it is for arm64, and not"),
            (universal(&[(ARM, good(ARM)), (7, good(7))]), "for arm64 and processor 0x7, and not"),
            (both(|_| good(INTEL)), "its part for arm64: is for x86_64"),
            (both(|processor| thin(processor, 6, MACOS, 0)), "is no program"),
            (both(|processor| thin(processor, EXECUTABLE, 2, 0)), "another system of Apple's, number 2"),
            (both(|processor| thin(processor, EXECUTABLE, MACOS, 0x000e_0100)), "needs macOS 14.1"),
            (both(unsigned), "has no code signature"),
        ] {
            let told = format!("{:#}", check(&file).unwrap_err());
            assert!(told.contains(reason), "{told} instead of {reason}");
        }
    }

    #[test]
    fn no_cut_file_is_taken_and_none_ends_the_program() {
        let whole = universal(&[(ARM, good(ARM)), (INTEL, good(INTEL))]);
        for length in 0..whole.len() {
            assert!(check(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
    }
}
