//! One file of the log: which of its lines are complete and not printed yet.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::SystemTime;

use inotify::WatchDescriptor;

use crate::{checksum, say};

/// So many bytes at the beginning of a file tell it from another.
const HEAD: usize = 1024;

/// Which file it is, and how far it has been printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The number that stays with a file when it is renamed. When the file is removed, another
    /// file may get it.
    pub inode: u64,
    /// When the file was made, where the file system says so. No two files share both.
    pub born: Option<SystemTime>,
    /// How the file begins: where `born` is not known, what tells it from a later one with the
    /// same inode; and what tells that it was truncated and has grown again.
    pub head: Head,
    /// Where the first line begins that has not been printed.
    pub offset: u64,
    /// From `offset` up to here there is no end of line. That part of the line is not kept
    /// anywhere: the file itself is the buffer, so that a line may be of any length.
    pub searched: u64,
}

/// The beginning of a file, as far as it has been printed, or its first 1,024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many bytes.
    pub length: u64,
    /// Their checksum.
    pub checksum: u64,
}

impl Position {
    /// The beginning of a file of which nothing has been printed.
    pub fn start(metadata: &Metadata) -> Position {
        Position {
            inode: metadata.ino(),
            born: metadata.created().ok(),
            head: Head::of(&[]),
            offset: 0,
            searched: 0,
        }
    }

    // ANCHOR: same-file
    /// Whether this position was taken in `file`, which may have another name by now.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn is_in(&self, file: &File, metadata: &Metadata) -> io::Result<bool> {
        if self.inode != metadata.ino() {
            return Ok(false);
        }
        match (self.born, metadata.created().ok()) {
            (Some(then), Some(now)) => Ok(then == now),
            _ => Ok(self.head == Head::read(file, self.head.length)?),
        }
    }
    // ANCHOR_END: same-file
}

impl Head {
    /// The beginning of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Head {
        let bytes = &bytes[..bytes.len().min(HEAD)];
        Head {
            length: bytes.len() as u64,
            checksum: checksum(None, bytes),
        }
    }

    /// Adds the bytes that follow, as far as they belong to the beginning.
    fn extend(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(HEAD.saturating_sub(self.length as usize))];
        self.length += bytes.len() as u64;
        self.checksum = checksum(Some(self.checksum), bytes);
    }

    /// Reads so many bytes again.
    fn read(file: &File, length: u64) -> io::Result<Head> {
        let mut bytes = [0; HEAD];
        let wanted = &mut bytes[..HEAD.min(length as usize)];
        let mut read = 0;
        while read < wanted.len() {
            match file.read_at(&mut wanted[read..], read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        Ok(Head::of(&wanted[..read]))
    }
}

/// An open file of the log.
///
/// While it is open, its inode cannot go to another file.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    /// Its name when it was last seen, for messages.
    pub name: OsString,
    /// The file system that it is on.
    pub device: u64,
    /// Which file it is, and how far it has been printed.
    pub position: Position,
    /// Whether there may be something to read.
    pub unread: bool,
    /// Whether its last name is gone. Whoever has it open may still write to it.
    pub removed: bool,
    /// Whether whoever wrote to it last has closed it.
    pub writer_left: bool,
    /// How the kernel calls it when it tells of a change.
    pub watch: WatchDescriptor,
}

impl LogFile {
    /// A file that is printed from `position` on.
    pub fn new(
        file: File,
        name: OsString,
        device: u64,
        position: Position,
        watch: WatchDescriptor,
    ) -> LogFile {
        LogFile {
            file,
            name,
            device,
            position,
            unread: true,
            removed: false,
            writer_left: false,
            watch,
        }
    }

    // ANCHOR: print-some
    /// Reads as much as `buffer` holds, and prints the lines that are complete; `false` when
    /// there was nothing to read.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or `out` cannot be written to.
    pub fn print_some(&mut self, buffer: &mut [u8], out: &mut impl Write) -> io::Result<bool> {
        self.notice_truncation()?;
        let read = self.file.read_at(buffer, self.position.searched)?;
        let Some(newline) = buffer[..read].iter().rposition(|byte| *byte == b'\n') else {
            // The line goes on. Its beginning is read again when its end is there.
            self.position.searched += read as u64;
            return Ok(read > 0);
        };
        let lines = newline + 1;
        let end = self.position.searched + lines as u64;
        if self.position.offset == self.position.searched {
            out.write_all(&buffer[..lines])?;
            self.position.head.extend(&buffer[..lines]);
        } else {
            self.copy(self.position.offset..end, buffer, out)?;
        }
        out.flush()?;

        // What follows the last newline is read again with the next piece: most often that
        // begins with a whole line then, which needs no second look.
        self.position.offset = end;
        self.position.searched = end;
        Ok(true)
    }
    // ANCHOR_END: print-some

    /// Prints a range of the file, piece by piece.
    fn copy(
        &mut self,
        mut range: std::ops::Range<u64>,
        buffer: &mut [u8],
        out: &mut impl Write,
    ) -> io::Result<()> {
        while range.start < range.end {
            let piece = buffer.len().min((range.end - range.start) as usize);
            let read = self.file.read_at(&mut buffer[..piece], range.start)?;
            if read == 0 {
                // Truncated at this very moment. What was printed of the line stands alone.
                return out.write_all(b"\n");
            }
            out.write_all(&buffer[..read])?;
            self.position.head.extend(&buffer[..read]);
            range.start += read as u64;
        }
        Ok(())
    }

    /// Begins again where the app has truncated the file.
    ///
    /// This can be known when the file is shorter than what was read of it, or begins with other
    /// bytes. A file that grew back to the same beginning, and further than before, cannot be
    /// told from one that was never touched.
    fn notice_truncation(&mut self) -> io::Result<()> {
        let head = self.position.head;
        if self.file.metadata()?.len() >= self.position.searched
            && Head::read(&self.file, head.length)? == head
        {
            return Ok(());
        }
        say(format_args!(
            "{} was truncated: what it held and was not printed before is gone",
            self.name.display()
        ));
        self.position.head = Head::of(&[]);
        self.position.offset = 0;
        self.position.searched = 0;
        Ok(())
    }

    /// What the file system says of the file.
    ///
    /// # Errors
    ///
    /// When it says nothing.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// How many bytes of an incomplete line are at its end, once all of it has been read.
    pub fn incomplete(&self) -> u64 {
        self.position.searched - self.position.offset
    }

    /// Up to where it has been read.
    pub fn read_to(&self) -> u64 {
        self.position.searched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(bytes: &[u8]) -> (File, Metadata) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let metadata = file.metadata().unwrap();
        (file, metadata)
    }

    #[test]
    fn where_nobody_knows_when_a_file_was_made_its_beginning_tells() {
        let (file, metadata) = file_with(b"one\ntwo\n");
        let position = Position {
            born: None,
            head: Head::of(b"one\n"),
            offset: 4,
            searched: 4,
            ..Position::start(&metadata)
        };
        assert!(position.is_in(&file, &metadata).unwrap());
        let other_inode = Position {
            inode: metadata.ino() + 1,
            ..position
        };
        assert!(!other_inode.is_in(&file, &metadata).unwrap());
        for other_beginning in [&b"six\n"[..], b"one\ntwo\nsix\n"] {
            let position = Position {
                head: Head::of(other_beginning),
                ..position
            };
            assert!(!position.is_in(&file, &metadata).unwrap());
        }
    }

    #[test]
    fn where_it_is_known_when_a_file_was_made_that_tells() {
        let (file, metadata) = file_with(b"one\ntwo\n");
        let Ok(born) = metadata.created() else { return };
        let position = Position {
            head: Head::of(b"one\n"),
            offset: 4,
            searched: 4,
            ..Position::start(&metadata)
        };
        assert!(position.is_in(&file, &metadata).unwrap());
        let earlier = Position {
            born: Some(born - std::time::Duration::from_millis(4)),
            ..position
        };
        assert!(!earlier.is_in(&file, &metadata).unwrap());
    }
}
