//! Reading lines from a file or standard input, plain, gzip or zstd: the bytes say which.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BUFFER_SIZE: usize = 256 << 10;

/// An input that is read line by line.
pub(crate) struct Input {
    /// How messages call it.
    pub(crate) name: String,
    /// Its bytes on disk, where that is known.
    pub(crate) size: Option<u64>,
    reader: Box<dyn BufRead>,
    done: Rc<Cell<u64>>,
}

impl Input {
    /// Opens a file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::new("standard input".to_owned(), None, io::stdin().lock());
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let size = metadata.is_file().then_some(metadata.len());
        Self::new(path.display().to_string(), size, file)
    }

    fn new(name: String, size: Option<u64>, source: impl Read + 'static) -> io::Result<Self> {
        let done = Rc::new(Cell::new(0));
        let mut source = Counted { source, done: Rc::clone(&done) };
        let mut start = Vec::new();
        source.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut start)?;
        let is_gzip = start.starts_with(GZIP_MAGIC);
        let is_zstd = start.starts_with(ZSTD_MAGIC);
        let whole = BufReader::with_capacity(BUFFER_SIZE, io::Cursor::new(start).chain(source));
        let reader: Box<dyn BufRead> = if is_gzip {
            Box::new(BufReader::with_capacity(BUFFER_SIZE, MultiGzDecoder::new(whole)))
        } else if is_zstd {
            let decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            Box::new(BufReader::with_capacity(BUFFER_SIZE, decoder))
        } else {
            Box::new(whole)
        };
        Ok(Self { name, size, reader, done })
    }

    /// How many bytes of [`size`](Self::size) were read.
    pub(crate) fn done(&self) -> u64 {
        self.done.get()
    }

    /// Replaces what `line` holds by the next line without its break. `false` at the end.
    ///
    /// A line over `size_max` bytes is cut there, to be refused: it holds one byte more.
    pub(crate) fn read_line(&mut self, line: &mut Vec<u8>, size_max: usize) -> io::Result<bool> {
        line.clear();
        let room = size_max as u64 + 1;
        let size = self.reader.by_ref().take(room).read_until(b'\n', line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(size > 0)
    }
}

/// Counts what is read through it.
struct Counted<R> {
    source: R,
    done: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.source.read(buffer)?;
        self.done.set(self.done.get() + size as u64);
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(bytes: &[u8]) -> io::Result<Vec<String>> {
        let mut input = Input::new("x".to_owned(), None, io::Cursor::new(bytes.to_vec()))?;
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while input.read_line(&mut line, 100)? {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        Ok(lines)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_gzip_and_zstd_are_told_apart_by_content() {
        let text = "one\n\nthree";
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();

        for bytes in [text.as_bytes().to_vec(), gzip(text), zstd] {
            assert_eq!(lines(&bytes).unwrap(), ["one", "", "three"]);
        }
    }

    #[test]
    fn files_that_were_joined_are_read_to_the_end() {
        let members = [gzip("one\n"), gzip("two\n")].concat();
        let frames = [zstd::encode_all(&b"one\n"[..], 1), zstd::encode_all(&b"two\n"[..], 1)];
        let frames = frames.map(Result::unwrap).concat();

        assert_eq!(lines(&members).unwrap(), ["one", "two"]);
        assert_eq!(lines(&frames).unwrap(), ["one", "two"]);
    }

    #[test]
    fn inputs_shorter_than_any_magic_are_plain() {
        assert_eq!(lines(b"").unwrap(), Vec::<String>::new());
        assert_eq!(lines(b"a").unwrap(), ["a"]);
    }

    #[test]
    fn a_compressed_file_that_ends_early_is_an_error() {
        let zstd = zstd::encode_all(&b"some text"[..], 1).unwrap();
        for whole in [gzip("some text"), zstd] {
            let cut = whole.get(..whole.len() - 5).unwrap();

            assert!(lines(cut).is_err());
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_read_to_its_end() {
        let mut input =
            Input::new("x".to_owned(), None, io::Cursor::new(vec![b'x'; 1_000])).unwrap();
        let mut line = Vec::new();

        assert!(input.read_line(&mut line, 10).unwrap());
        assert_eq!(line.len(), 11);
    }
}
