//! Files that claim what is not so, made by hand and not by the crate: a bug
//! in both would not be seen.

/// A raw profile of version 10 with four functions of one counter each and a
/// build id, and these names: 448 bytes and the names, filled up to 8.
pub fn raw(names: &[u8]) -> Vec<u8> {
    raw_with(names, |_| ())
}

/// The same, after `change` of the 16 numbers of its header: magic, version,
/// bytes of binary ids, records, padding, counters, padding, bytes of bitmaps,
/// padding, bytes of names, deltas of counters, bitmaps and names, vtables,
/// bytes of their names, last kind of value.
pub fn raw_with(names: &[u8], change: impl FnOnce(&mut [u64; 16])) -> Vec<u8> {
    const RECORDS: u64 = 4;
    const RECORD: u64 = 64;
    let mut header = [0u64; 16];
    header[0] = u64::from_le_bytes(*b"\x81rforpl\xff");
    header[1] = 10;
    header[2] = 32;
    header[3] = RECORDS;
    header[5] = RECORDS;
    header[9] = names.len() as u64;
    header[10] = RECORDS * RECORD;
    header[11] = RECORDS * RECORD + RECORDS * 8;
    header[15] = 2;
    change(&mut header);
    let mut file: Vec<u8> = header
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    file.extend(20u64.to_le_bytes());
    file.extend([0xb1; 20]);
    file.extend([0; 4]);
    for index in 0..RECORDS {
        // Less the delta, plus the record's own offset, this is the offset of
        // its counter among the counters.
        let counter = RECORDS * RECORD + index * 8 - index * RECORD;
        file.extend((0x1000 + index).to_le_bytes());
        file.extend((0x2000 + index).to_le_bytes());
        file.extend(counter.to_le_bytes());
        file.extend([0; 24]);
        file.extend(1u32.to_le_bytes());
        file.extend([0; 12]);
    }
    for index in 0..RECORDS {
        file.extend((index + 1).to_le_bytes());
    }
    file.extend(names);
    file.resize(file.len().next_multiple_of(8), 0);
    file
}

/// A chunk of names: what it claims to be plain and compressed, and its bytes.
pub fn chunk(plain: u64, packed: u64, bytes: &[u8]) -> Vec<u8> {
    let mut chunk = uleb(plain);
    chunk.extend(uleb(packed));
    chunk.extend(bytes);
    chunk
}

/// An unsigned LEB128 number.
pub fn uleb(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(low | if value == 0 { 0 } else { 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// `bytes` with those at `at` replaced.
pub fn with(bytes: &[u8], at: usize, by: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + by.len()].copy_from_slice(by);
    bytes
}

/// An ELF file of x86-64 with these sections, by name, and a GNU build id of
/// twenty bytes 0xb1.
pub fn elf(sections: &[(&str, Vec<u8>)]) -> Vec<u8> {
    const HEADER: usize = 64;
    let mut note: Vec<u8> = [4u32, 20, 3]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    note.extend(b"GNU\0");
    note.extend([0xb1; 20]);
    let mut all = vec![(".note.gnu.build-id", 7u32, note)];
    all.extend(sections.iter().map(|(name, data)| (*name, 1, data.clone())));
    let mut names = vec![0];
    let mut file = vec![0; HEADER];
    let mut heads = vec![[0u64; 6]];
    for (name, kind, data) in &all {
        file.resize(file.len().next_multiple_of(8), 0);
        heads.push([
            names.len() as u64,
            u64::from(*kind),
            file.len() as u64,
            data.len() as u64,
            0,
            8,
        ]);
        names.extend(name.as_bytes());
        names.push(0);
        file.extend(data);
    }
    let name = names.len() as u64;
    names.extend(b".shstrtab\0");
    heads.push([name, 3, file.len() as u64, names.len() as u64, 0, 1]);
    file.extend(&names);
    file.resize(file.len().next_multiple_of(8), 0);
    let table = file.len() as u64;
    for [name, kind, offset, size, address, align] in &heads {
        file.extend((*name as u32).to_le_bytes());
        file.extend((*kind as u32).to_le_bytes());
        file.extend([0; 8]);
        for number in [address, offset, size, &0, align, &0] {
            file.extend(number.to_le_bytes());
        }
    }
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend(3u16.to_le_bytes());
    head.extend(62u16.to_le_bytes());
    head.extend(1u32.to_le_bytes());
    head.extend([0; 16]);
    head.extend(table.to_le_bytes());
    head.extend([0; 4]);
    for number in [64u16, 0, 0, 64, heads.len() as u16, heads.len() as u16 - 1] {
        head.extend(number.to_le_bytes());
    }
    file[..HEADER].copy_from_slice(&head);
    file
}

/// A covmap of one table of names: zeros, size, zero, version (6 is stored for
/// 7), then what the table claims.
pub fn covmap(table: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    for number in [0, table.len() as u32, 0, 6] {
        section.extend(number.to_le_bytes());
    }
    section.extend(table);
    section.resize(section.len().next_multiple_of(8), 0);
    section
}

/// A covfun of one function with these bytes of mapping.
pub fn covfun(name: &[u8], hash: u64, table: &[u8], mapping: &[u8]) -> Vec<u8> {
    let md5 = podcov_profile::llvm::names::hash;
    let mut section = md5(name).to_le_bytes().to_vec();
    section.extend((mapping.len() as u32).to_le_bytes());
    section.extend(hash.to_le_bytes());
    section.extend(md5(table).to_le_bytes());
    section.extend(mapping);
    section.resize(section.len().next_multiple_of(8), 0);
    section
}

/// Two names, not compressed: the directory and a file.
pub fn two_names() -> Vec<u8> {
    let mut table = uleb(2);
    table.extend(uleb(9));
    table.extend(uleb(0));
    table.extend(b"\x02/s\x05/s/a.");
    table
}
