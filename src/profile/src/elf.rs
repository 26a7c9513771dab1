//! What an ELF program says of itself: which build it is, whether it was
//! instrumented, and what it needs to run.

use object::elf::{FileHeader32, FileHeader64, PT_INTERP};
use object::endian::Endianness;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{FileKind, Object, ObjectSection, ObjectSymbol};
use sha2::{Digest, Sha256};

use crate::Identity;
use crate::bytes::hex;

/// Bytes that are no ELF program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an ELF program: {0}")]
pub struct NotAProgram(String);

/// A program, as far as coverage is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `x86_64`, `aarch64`, … as Rust and `uname` call it.
    pub arch: String,
    /// Its GNU build id. Raw profiles of it carry the same.
    pub build_id: Option<Identity>,
    /// SHA-256 of its Go build id.
    pub go_build_id: Option<Identity>,
    /// It holds LLVM's coverage mapping (`__llvm_covmap`, `__llvm_covfun`), so
    /// its profiles can be turned into lines.
    pub llvm_mapping: bool,
    /// LLVM's counters are in it (`__llvm_prf_cnts`), so it writes profiles.
    pub llvm_counters: bool,
    /// It was built with `-runtime-counter-relocation`, without which a killed
    /// process leaves nothing. `None` when its symbols were stripped.
    pub llvm_relocation: Option<bool>,
    /// It is a Go program, with or without coverage.
    pub go: bool,
    /// Go's coverage runtime is in it.
    pub go_coverage: bool,
    /// The loader it asks for; `None` for a static program.
    pub interpreter: Option<String>,
    /// The libraries it asks for, in order.
    pub needed: Vec<String>,
}

impl Program {
    /// Whether it runs in an image that holds nothing else.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty()
    }

    /// Whether it was built to leave evidence that can be read.
    pub fn is_instrumented(&self) -> bool {
        (self.llvm_mapping && self.llvm_counters) || self.go_coverage
    }
}

/// Reads a program.
pub fn read(bytes: &[u8]) -> Result<Program, NotAProgram> {
    let wrong = |error: object::read::Error| NotAProgram(error.to_string());
    match FileKind::parse(bytes).map_err(wrong)? {
        FileKind::Elf64 => program::<FileHeader64<Endianness>>(bytes).map_err(wrong),
        FileKind::Elf32 => program::<FileHeader32<Endianness>>(bytes).map_err(wrong),
        other => Err(NotAProgram(format!("found {other:?}"))),
    }
}

fn program<H>(bytes: &[u8]) -> object::read::Result<Program>
where
    H: FileHeader<Endian = Endianness>,
{
    let file = ElfFile::<H>::parse(bytes)?;
    let has = |name: &str| file.section_by_name(name).is_some();
    let contains = |section: &str, needle: &[u8]| {
        file.section_by_name(section)
            .and_then(|section| section.data().ok())
            .is_some_and(|data| find(data, needle))
    };
    let address = |name: &str| {
        file.symbols()
            .find(|s| s.is_definition() && s.name() == Ok(name))
            .map(|s| s.address())
    };
    let relocation = file.symbols().next().map(|_| {
        // The runtime aliases the variable to a default of its own, which the
        // compiler's definition takes the place of.
        let bias = address("__llvm_profile_counter_bias");
        bias.is_some() && bias != address("__llvm_profile_counter_bias_default")
    });
    let go = has(".go.buildinfo") || has(".note.go.buildid");
    let mut interpreter = None;
    for segment in file.elf_program_headers() {
        if segment.p_type(file.endian()) == PT_INTERP
            && let Ok(path) = segment.data(file.endian(), bytes)
        {
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut needed = Vec::new();
    for library in file.import_libraries()? {
        needed.push(text(library?.name()));
    }
    let go_build_id = file
        .section_by_name(".note.go.buildid")
        .and_then(|section| {
            let id = go_note(section.data().ok()?, file.is_little_endian())?;
            Some(Identity::GoBuildId(hex(&Sha256::digest(id))))
        });
    Ok(Program {
        arch: arch(file.architecture()),
        build_id: file
            .build_id()?
            .filter(|id| !id.is_empty())
            .map(|id| Identity::BuildId(hex(id))),
        go_build_id,
        llvm_mapping: has("__llvm_covmap") && has("__llvm_covfun"),
        llvm_counters: has("__llvm_prf_cnts"),
        llvm_relocation: relocation,
        go,
        // The line table names every function, and no stripping removes it.
        go_coverage: go && contains(".gopclntab", b"internal/coverage/cfile."),
        interpreter,
        needed,
    })
}

/// The text of Go's build id note: sizes of name and text, type 4, "Go".
fn go_note(note: &[u8], is_little_endian: bool) -> Option<&[u8]> {
    let word = |at: usize| {
        let word: [u8; 4] = note.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match is_little_endian {
            true => u32::from_le_bytes(word),
            false => u32::from_be_bytes(word),
        })
    };
    let (name, size, kind) = (word(0)?, word(4)?, word(8)?);
    let name = note.get(12..12usize.checked_add(usize::try_from(name).ok()?)?)?;
    if kind != 4 || name != b"Go\0\0" {
        return None;
    }
    note.get(16..16usize.checked_add(usize::try_from(size).ok()?)?)
}

fn find(data: &[u8], needle: &[u8]) -> bool {
    data.windows(needle.len()).any(|window| window == needle)
}

pub(crate) fn arch(arch: object::Architecture) -> String {
    use object::Architecture as A;
    match arch {
        A::X86_64 => "x86_64".to_owned(),
        A::Aarch64 => "aarch64".to_owned(),
        A::I386 => "i686".to_owned(),
        A::Arm => "arm".to_owned(),
        A::PowerPc64 => "powerpc64".to_owned(),
        A::S390x => "s390x".to_owned(),
        A::Riscv64 => "riscv64".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}
