//! The sections of a program that LLVM's coverage lives in.
//!
//! | | ELF | Mach-O | COFF, PE |
//! |---|---|---|---|
//! | file names | `__llvm_covmap` | `__LLVM_COV,__llvm_covmap` | `.lcovmap` |
//! | functions | `__llvm_covfun` | `__LLVM_COV,__llvm_covfun` | `.lcovfun` |
//! | names | `__llvm_prf_names` | `__DATA,__llvm_prf_names` | `.lprfn` |
//! | names, correlated | `__llvm_covnames` | `__LLVM_COV,__llvm_covnames` | `.lcovn` |
//! | identity | `NT_GNU_BUILD_ID` | `LC_UUID` | none |
//!
//! Objects of COFF carry `$M` behind the name, and a linked PE one zero before
//! the names. Archives give one [`Object`] for each member that was
//! instrumented; a fat Mach-O gives those of the architecture that was asked
//! for. Only what is needed is read from the file, so that an
//! [`object::ReadCache`] over it stays small. Sources:
//! `ProfileData/InstrProfData.inc` and `CoverageMappingReader.cpp`, LLVM 22.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64};
use object::endian::Endianness;
use object::macho::{MachHeader32, MachHeader64};
use object::pe::{AnonObjectHeaderBigobj, ImageFileHeader, ImageNtHeaders32, ImageNtHeaders64};
use object::read::archive::{ArchiveFile, ArchiveKind};
use object::read::coff::{CoffFile, CoffHeader};
use object::read::elf::{CompressionHeader as _, FileHeader, SectionHeader as _};
use object::read::macho::{FatArch, MachHeader, MachOFatFile32, MachOFatFile64};
use object::read::macho::{Section as _, Segment as _};
use object::read::pe::{ImageNtHeaders, PeFile};
use object::{Architecture, FileKind, ObjectSection as _, ReadRef};

use super::inflate::inflate;
use super::mapping_file;
use crate::Identity;
use crate::bytes::{Endian, hex};
use crate::elf::arch;
use crate::error::{Kind, ParseError};
use crate::limits::Limits;

/// What LLVM's coverage needs of one program, library or member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// The member of an archive it is.
    pub member: Option<String>,
    /// `x86_64`, `aarch64`, … as Rust and `uname` call it.
    pub arch: String,
    /// Of its numbers.
    pub endian: Endian,
    /// Which build it is, if it says so: GNU build id, or UUID of Mach-O.
    pub identity: Option<Identity>,
    /// `__llvm_covmap`: names of files.
    pub covmap: Cow<'a, [u8]>,
    /// `__llvm_covfun`: functions.
    pub covfun: Cow<'a, [u8]>,
    /// `__llvm_prf_names`, or `__llvm_covnames`: names of functions.
    pub names: Cow<'a, [u8]>,
}

/// Reads a program, library, archive or mapping file, which errors call
/// `name`. Of a fat Mach-O, `want` says which architecture, as `x86_64` or
/// `arm64`.
///
/// # Errors
/// Files of other formats, those that end early, sections over
/// [`Limits::section`], and programs without coverage mapping: they were not
/// built with it, or were stripped of it.
pub fn read<'a, R: ReadRef<'a>>(
    data: R,
    name: &str,
    want: Option<&str>,
    limits: &Limits,
) -> Result<Vec<Object<'a>>, ParseError> {
    let len = data.len().unwrap_or_default();
    let input = Input {
        data: Part {
            data,
            start: 0,
            len,
        },
        len,
        name,
        want,
        limits,
        sections_left: &Cell::new(len),
        inflation_left: &Cell::new((64 << 20) + len.saturating_mul(7)),
    };
    if input.len == 0 {
        return Err(ParseError::empty(&format!(
            "{name} is empty, not a program"
        )));
    }
    if let Some(object) = mapping_file::read_ref(data, input.len, limits)? {
        return Ok(vec![object]);
    }
    let objects = input.objects(true)?;
    if objects.is_empty() {
        return Err(input.error(
            Kind::Unsupported,
            format!(
                "{name} holds no coverage mapping (sections __llvm_covmap and __llvm_covfun): \
                 expected a program that was built with coverage and not stripped of it"
            ),
        ));
    }
    Ok(objects)
}

/// A part of a file, as a file of its own.
#[derive(Clone, Copy)]
struct Part<R> {
    data: R,
    start: u64,
    len: u64,
}

impl<'a, R: ReadRef<'a>> ReadRef<'a> for Part<R> {
    fn len(self) -> Result<u64, ()> {
        Ok(self.len)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        let end = offset.checked_add(size).filter(|end| *end <= self.len);
        end.ok_or(())?;
        let start = self.start.checked_add(offset).ok_or(())?;
        self.data.read_bytes_at(start, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        if range.end > self.len {
            return Err(());
        }
        let start = self.start.checked_add(range.start).ok_or(())?;
        let end = self.start.checked_add(range.end).ok_or(())?;
        self.data.read_bytes_at_until(start..end, delimiter)
    }
}

#[derive(Clone, Copy)]
struct Input<'o, R> {
    data: Part<R>,
    len: u64,
    name: &'o str,
    want: Option<&'o str>,
    limits: &'o Limits,
    /// Bytes that sections may still have: they do not overlap.
    sections_left: &'o Cell<u64>,
    /// Bytes that sections may still inflate to.
    inflation_left: &'o Cell<u64>,
}

/// Sections as they are found; there may be several of a name in an object
/// that is not linked yet.
#[derive(Default)]
struct Found<'a> {
    covmap: Vec<Cow<'a, [u8]>>,
    covfun: Vec<Cow<'a, [u8]>>,
    names: Vec<Cow<'a, [u8]>>,
    covnames: Vec<Cow<'a, [u8]>>,
}

impl<'a> Found<'a> {
    /// The list a section belongs to.
    fn list(&mut self, name: &[u8]) -> Option<&mut Vec<Cow<'a, [u8]>>> {
        match name {
            b"__llvm_covmap" | b".lcovmap" => Some(&mut self.covmap),
            b"__llvm_covfun" | b".lcovfun" => Some(&mut self.covfun),
            b"__llvm_prf_names" | b".lprfn" => Some(&mut self.names),
            b"__llvm_covnames" | b".lcovn" => Some(&mut self.covnames),
            _ => None,
        }
    }

    /// An object, if it was instrumented.
    fn object(
        self,
        arch: String,
        endian: Endian,
        identity: Option<Identity>,
    ) -> Option<Object<'a>> {
        let is_there = |sections: &[Cow<'_, [u8]>]| sections.iter().any(|s| !s.is_empty());
        if !is_there(&self.covmap) || !is_there(&self.covfun) {
            return None;
        }
        let names = if is_there(&self.names) {
            self.names
        } else {
            self.covnames
        };
        Some(Object {
            member: None,
            arch,
            endian,
            identity,
            covmap: joined(self.covmap),
            covfun: joined(self.covfun),
            names: joined(names),
        })
    }
}

/// Sections of one name, each on 8 bytes.
fn joined(mut sections: Vec<Cow<'_, [u8]>>) -> Cow<'_, [u8]> {
    sections.retain(|section| !section.is_empty());
    if sections.len() == 1 {
        return sections.remove(0);
    }
    let mut all = Vec::new();
    for section in sections {
        all.extend_from_slice(&section);
        all.resize(all.len().next_multiple_of(8), 0);
    }
    Cow::Owned(all)
}

impl<'a, R: ReadRef<'a>> Input<'_, R> {
    fn error(&self, kind: Kind, what: String) -> ParseError {
        ParseError {
            kind,
            what,
            offset: 0,
            len: self.len,
        }
    }

    fn wrong(&self, error: object::read::Error) -> ParseError {
        self.error(Kind::Malformed, format!("{}: {error}", self.name))
    }

    fn part(&self, (start, len): (u64, u64)) -> Result<Input<'_, R>, ParseError> {
        if start.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(ParseError {
                kind: Kind::Truncated,
                what: format!("{}: a part of {len} bytes", self.name),
                offset: start,
                len: self.len,
            });
        }
        let data = Part {
            data: self.data.data,
            start: self.data.start.saturating_add(start),
            len,
        };
        Ok(Input {
            data,
            len,
            name: self.name,
            want: self.want,
            limits: self.limits,
            sections_left: self.sections_left,
            inflation_left: self.inflation_left,
        })
    }

    /// The objects within; `outer` may hold files of its own.
    fn objects(&self, outer: bool) -> Result<Vec<Object<'a>>, ParseError> {
        let kind = FileKind::parse(self.data).map_err(|_| {
            let what = format!("{}: no program, library or archive", self.name);
            self.error(Kind::Unsupported, what)
        })?;
        let data = self.data;
        let single = match kind {
            FileKind::Elf32 => self.elf::<FileHeader32<Endianness>>(),
            FileKind::Elf64 => self.elf::<FileHeader64<Endianness>>(),
            FileKind::MachO32 => self.macho::<MachHeader32<Endianness>>(),
            FileKind::MachO64 => self.macho::<MachHeader64<Endianness>>(),
            FileKind::Coff => self.coff::<ImageFileHeader>(),
            FileKind::CoffBig => self.coff::<AnonObjectHeaderBigobj>(),
            FileKind::Pe32 => self.pe::<ImageNtHeaders32>(),
            FileKind::Pe64 => self.pe::<ImageNtHeaders64>(),
            FileKind::Archive => return self.archive(),
            FileKind::MachOFat32 if outer => {
                let fat = MachOFatFile32::parse(data).map_err(|e| self.wrong(e))?;
                return self.fat(fat.arches());
            }
            FileKind::MachOFat64 if outer => {
                let fat = MachOFatFile64::parse(data).map_err(|e| self.wrong(e))?;
                return self.fat(fat.arches());
            }
            other => {
                let what = format!("{}: {other:?} is no program that is read", self.name);
                return Err(self.error(Kind::Unsupported, what));
            }
        };
        Ok(single?.into_iter().collect())
    }

    fn archive(&self) -> Result<Vec<Object<'a>>, ParseError> {
        let archive = ArchiveFile::parse(self.data).map_err(|e| self.wrong(e))?;
        if archive.is_thin() {
            let what = format!("{}: a thin archive, whose members are elsewhere", self.name);
            return Err(self.error(Kind::Unsupported, what));
        }
        if matches!(archive.kind(), ArchiveKind::AixBig | ArchiveKind::Zos) {
            let what = format!("{}: an archive of another system", self.name);
            return Err(self.error(Kind::Unsupported, what));
        }
        let mut objects = Vec::new();
        for member in archive.members() {
            let member = member.map_err(|e| self.wrong(e))?;
            let part = self.part(member.file_range())?;
            // What is not an object, such as metadata, has no coverage.
            let is_object = match FileKind::parse(part.data) {
                Ok(FileKind::Archive) | Err(_) => false,
                Ok(_) => true,
            };
            if !is_object {
                continue;
            }
            match part.objects(false) {
                Ok(found) => objects.extend(found.into_iter().map(|object| Object {
                    member: Some(String::from_utf8_lossy(member.name()).into_owned()),
                    ..object
                })),
                Err(error) if error.kind == Kind::Unsupported => {}
                Err(error) => {
                    return Err(ParseError {
                        offset: error.offset + member.file_range().0,
                        len: self.len,
                        ..error
                    });
                }
            }
        }
        Ok(objects)
    }

    fn fat<F: FatArch>(&self, arches: &[F]) -> Result<Vec<Object<'a>>, ParseError> {
        let names: Vec<String> = arches.iter().map(|one| arch(one.architecture())).collect();
        let Some(want) = self.want else {
            let what = format!(
                "{} holds several architectures, say which: {}",
                self.name,
                names.join(", ")
            );
            return Err(self.error(Kind::Unsupported, what));
        };
        let want = match want {
            "arm64" | "arm64e" => "aarch64",
            "i386" => "i686",
            other => other,
        };
        let Some(place) = names.iter().position(|name| name == want) else {
            let what = format!("{} has no {want}, only {}", self.name, names.join(", "));
            return Err(self.error(Kind::Unsupported, what));
        };
        match arches.get(place) {
            Some(one) => self.part(one.file_range())?.objects(false),
            None => Ok(Vec::new()),
        }
    }

    fn elf<H: FileHeader<Endian = Endianness>>(&self) -> Result<Option<Object<'a>>, ParseError> {
        let data = self.data;
        let wrong = |error| self.wrong(error);
        let header = H::parse(data).map_err(wrong)?;
        let endian = header.endian().map_err(wrong)?;
        let sections = header.sections(endian, data).map_err(wrong)?;
        let mut found = Found::default();
        let mut identity = None;
        for section in sections.iter() {
            let name = sections.section_name(endian, section).map_err(wrong)?;
            if section.sh_type(endian) == elf::SHT_NOTE {
                if identity.is_none() && name == b".note.gnu.build-id" {
                    identity = note::<H, Part<R>>(endian, data, section).map_err(wrong)?;
                }
                continue;
            }
            let Some(list) = found.list(name) else {
                continue;
            };
            let compressed = section.compression(endian, data).map_err(wrong)?;
            let bytes = match compressed {
                None => {
                    let size = section.sh_size(endian).into();
                    self.check_size(name, size)?;
                    Cow::Borrowed(section.data(endian, data).map_err(wrong)?)
                }
                Some((header, offset, size)) => {
                    if header.ch_type(endian) != elf::ELFCOMPRESS_ZLIB {
                        let what = format!("{}: a section that zlib cannot read", self.name);
                        return Err(self.error(Kind::Unsupported, what));
                    }
                    self.check_size(name, size)?;
                    let packed = data.read_bytes_at(offset, size).map_err(|()| {
                        let what = format!("{}: a compressed section that ends early", self.name);
                        self.error(Kind::Truncated, what)
                    })?;
                    let size = header.ch_size(endian).into();
                    self.check_inflated(size, packed.len())?;
                    let place = (offset, self.len);
                    let text = String::from_utf8_lossy(name);
                    Cow::Owned(inflate(packed, size, self.limits.section, &text, place)?)
                }
            };
            list.push(bytes);
        }
        let architecture = elf_arch(header.e_machine(endian), header.is_class_64());
        Ok(found.object(architecture, order(header.is_little_endian()), identity))
    }

    fn macho<H: MachHeader<Endian = Endianness>>(&self) -> Result<Option<Object<'a>>, ParseError> {
        let data = self.data;
        let wrong = |error| self.wrong(error);
        let header = H::parse(data, 0).map_err(wrong)?;
        let endian = header.endian().map_err(wrong)?;
        let mut found = Found::default();
        let mut identity = None;
        let mut commands = header.load_commands(endian, data, 0).map_err(wrong)?;
        while let Some(command) = commands.next().map_err(wrong)? {
            if let Ok(Some(uuid)) = command.uuid() {
                identity = Some(Identity::BuildId(hex(&uuid.uuid)));
            }
            let Some((segment, rest)) = H::Segment::from_command(command).map_err(wrong)? else {
                continue;
            };
            for section in segment.sections(endian, rest).map_err(wrong)? {
                if let Some(list) = found.list(section.name()) {
                    let size = section.size(endian).into();
                    self.check_size(section.name(), size)?;
                    let offset = u64::from(section.offset(endian));
                    let bytes = section.data(endian, data, offset).map_err(wrong)?;
                    list.push(Cow::Borrowed(bytes));
                }
            }
        }
        let architecture = macho_arch(header.cputype(endian));
        Ok(found.object(architecture, order(header.is_little_endian()), identity))
    }

    fn coff<H: CoffHeader>(&self) -> Result<Option<Object<'a>>, ParseError> {
        let file = CoffFile::<Part<R>, H>::parse(self.data).map_err(|e| self.wrong(e))?;
        self.windows(&file, false)
    }

    fn pe<H: ImageNtHeaders>(&self) -> Result<Option<Object<'a>>, ParseError> {
        let file = PeFile::<H, Part<R>>::parse(self.data).map_err(|e| self.wrong(e))?;
        self.windows(&file, true)
    }

    fn windows<'f, F: object::Object<'a>>(
        &self,
        file: &'f F,
        is_linked: bool,
    ) -> Result<Option<Object<'a>>, ParseError>
    where
        'a: 'f,
    {
        let wrong = |error| self.wrong(error);
        let mut found = Found::default();
        for section in file.sections() {
            let full = section.name_bytes().map_err(wrong)?;
            // The linker sorts by what is behind the dollar, and drops it.
            let name = full.split(|byte| *byte == b'$').next().unwrap_or_default();
            if let Some(list) = found.list(name) {
                self.check_size(name, section.size())?;
                let mut bytes = section.data().map_err(wrong)?;
                if is_linked && name == b".lprfn" {
                    bytes = bytes.get(1..).unwrap_or_default();
                }
                list.push(Cow::Borrowed(bytes));
            }
        }
        let endian = order(file.is_little_endian());
        Ok(found.object(arch(file.architecture()), endian, None))
    }

    fn check_size(&self, section: &[u8], size: u64) -> Result<(), ParseError> {
        let left = self.sections_left.get();
        if size <= self.limits.section && size <= left {
            self.sections_left.set(left - size);
            return Ok(());
        }
        let kind = if size > left {
            Kind::Truncated
        } else {
            Kind::TooLarge
        };
        Err(self.error(
            kind,
            format!(
                "{}: section {} claims {size} bytes, {left} are left and the limit is {}",
                self.name,
                String::from_utf8_lossy(section),
                self.limits.section
            ),
        ))
    }

    /// Keeps memory in proportion to the file.
    fn check_inflated(&self, size: u64, packed: usize) -> Result<(), ParseError> {
        let left = self.inflation_left.get();
        if size <= left {
            self.inflation_left.set(left - size);
            return Ok(());
        }
        let what = format!(
            "{}: a section claims {size} bytes in {packed} compressed ones, the limit is {left}",
            self.name
        );
        Err(self.error(Kind::TooLarge, what))
    }
}

fn order(is_little: bool) -> Endian {
    if is_little {
        Endian::Little
    } else {
        Endian::Big
    }
}

/// The build id of a note section.
fn note<'a, H: FileHeader, R: ReadRef<'a>>(
    endian: H::Endian,
    data: R,
    section: &H::SectionHeader,
) -> object::read::Result<Option<Identity>> {
    let Some(mut notes) = section.notes(endian, data)? else {
        return Ok(None);
    };
    while let Some(note) = notes.next()? {
        if note.name() == elf::ELF_NOTE_GNU
            && note.n_type(endian) == elf::NT_GNU_BUILD_ID
            && !note.desc().is_empty()
        {
            return Ok(Some(Identity::BuildId(hex(note.desc()))));
        }
    }
    Ok(None)
}

fn elf_arch(machine: elf::Machine, is_64: bool) -> String {
    arch(match (machine, is_64) {
        (elf::EM_X86_64, true) => Architecture::X86_64,
        (elf::EM_AARCH64, true) => Architecture::Aarch64,
        (elf::EM_386, _) => Architecture::I386,
        (elf::EM_ARM, _) => Architecture::Arm,
        (elf::EM_PPC64, _) => Architecture::PowerPc64,
        (elf::EM_S390, true) => Architecture::S390x,
        (elf::EM_RISCV, true) => Architecture::Riscv64,
        (elf::EM_RISCV, false) => Architecture::Riscv32,
        (elf::EM_LOONGARCH, true) => Architecture::LoongArch64,
        (elf::EM_PPC, _) => Architecture::PowerPc,
        (elf::EM_SPARCV9, _) => Architecture::Sparc64,
        (elf::EM_MIPS, false) => Architecture::Mips,
        (elf::EM_MIPS, true) => Architecture::Mips64,
        _ => Architecture::Unknown,
    })
}

fn macho_arch(kind: object::macho::CpuType) -> String {
    use object::macho;
    arch(match kind {
        macho::CPU_TYPE_X86_64 => Architecture::X86_64,
        macho::CPU_TYPE_ARM64 => Architecture::Aarch64,
        macho::CPU_TYPE_X86 => Architecture::I386,
        macho::CPU_TYPE_ARM => Architecture::Arm,
        _ => Architecture::Unknown,
    })
}
