//! Tells a static program from one that needs shared libraries, by the table at the front of its
//! ELF file.

/// The kind of segment that holds the path of a loader.
const PT_INTERP: u32 = 3;

/// The loader that a program asks for, as `/lib64/ld-linux-x86-64.so.2`. A static program asks
/// for none.
///
/// A file that is not ELF asks for none either: the kernel will say what it thinks of it. So
/// does one for a processor that is not 64-bit and little-endian, which no image is for.
pub(super) fn loader(program: &[u8]) -> Option<String> {
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(field(program, 0x20)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(field(program, 0x36)?));
    let count = usize::from(u16::from_le_bytes(field(program, 0x38)?));
    let mut segments = program.get(table..)?.chunks_exact(size.max(1)).take(count);
    let segment = segments.find(|segment| {
        field(segment, 0).is_some_and(|kind| u32::from_le_bytes(kind) == PT_INTERP)
    })?;
    let begin = usize::try_from(u64::from_le_bytes(field(segment, 0x08)?)).ok()?;
    let path = program.get(begin..)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The front of an ELF file that has one segment, of this kind, with this content.
    fn program(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x40 + 0x38];
        let end = bytes.len() as u64;
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x20..0x28].copy_from_slice(&0x40_u64.to_le_bytes());
        bytes[0x36..0x38].copy_from_slice(&0x38_u16.to_le_bytes());
        bytes[0x38..0x3a].copy_from_slice(&1_u16.to_le_bytes());
        bytes[0x40..0x44].copy_from_slice(&kind.to_le_bytes());
        bytes[0x48..0x50].copy_from_slice(&end.to_le_bytes());
        bytes[0x60..0x68].copy_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        let dynamic = program(PT_INTERP, b"/lib/ld-musl-x86_64.so.1\0");
        assert_eq!(
            loader(&dynamic).as_deref(),
            Some("/lib/ld-musl-x86_64.so.1")
        );
        assert_eq!(loader(&program(1, b"/lib/ld-musl-x86_64.so.1\0")), None);
    }

    #[test]
    fn a_file_that_ends_early_has_no_loader() {
        let dynamic = program(PT_INTERP, b"/lib/ld.so\0");
        for end in 0..0x78 {
            assert_eq!(loader(&dynamic[..end]), None, "cut at {end}");
        }
    }
}
