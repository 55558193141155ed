//! Bodies of signed objects: tags in ascending order, 0 at the end.

use super::error::FormatError;

/// Tags from here on must be understood; unknown ones below are passed over.
pub const CRITICAL: u16 = 0x8000;

/// Writes a body.
#[derive(Debug, Default)]
pub struct TlvWriter {
    bytes: Vec<u8>,
    last: u16,
}

impl TlvWriter {
    /// An empty body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field; tags ascend.
    pub fn put(&mut self, tag: u16, value: &[u8]) -> &mut Self {
        debug_assert!(tag > self.last, "tags ascend");
        self.last = tag;
        self.bytes.extend_from_slice(&tag.to_le_bytes());
        let len = u32::try_from(value.len()).expect("a body is far smaller than 4 GiB");
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// The body with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&0u16.to_le_bytes());
        self.bytes
    }
}

/// A sealed body is filled with zeros to a multiple of this, so that lengths say little.
pub const FILL_BYTES: usize = 4096;

/// The fields of a body in order.
pub type Fields<'a> = Vec<(u16, &'a [u8])>;

/// Reads a body that ends with its end mark.
///
/// # Errors
/// When tags do not ascend, a length runs out of the body, the end mark is missing, or anything
/// follows it.
pub fn read<'a>(what: &'static str, body: &'a [u8]) -> Result<Fields<'a>, FormatError> {
    let (fields, rest) = fields(what, body)?;
    Reader::new(what, rest).end()?;
    Ok(fields)
}

/// Reads a body that is filled with zeros to the next multiple of [`FILL_BYTES`], as sealed ones are.
///
/// # Errors
/// As [`read`], and when the fill is not the shortest, of zeros.
pub fn read_filled<'a>(what: &'static str, body: &'a [u8]) -> Result<Fields<'a>, FormatError> {
    let (fields, fill) = fields(what, body)?;
    let shortest = body.len().is_multiple_of(FILL_BYTES) && fill.len() < FILL_BYTES;
    if shortest && fill.iter().all(|byte| *byte == 0) {
        Ok(fields)
    } else {
        Err(FormatError::Malformed { what, why: "its fill is not the shortest, of zeros" })
    }
}

fn fields<'a>(what: &'static str, body: &'a [u8]) -> Result<(Fields<'a>, &'a [u8]), FormatError> {
    let mut reader = Reader::new(what, body);
    let mut fields = Vec::new();
    let mut last = 0;
    loop {
        let tag = reader.u16()?;
        if tag == 0 {
            return Ok((fields, reader.rest()));
        }
        if tag <= last {
            return Err(reader.wrong("its tags do not ascend"));
        }
        last = tag;
        fields.push((tag, reader.counted()?));
    }
}

/// Refuses a tag that this version does not know, when it must be understood.
///
/// # Errors
/// For tags from [`CRITICAL`] on.
pub fn unknown(what: &'static str, tag: u16) -> Result<(), FormatError> {
    if tag >= CRITICAL { Err(FormatError::TooNew { what, version: tag }) } else { Ok(()) }
}

/// Reads little-endian values one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over these bytes; `what` names them in errors.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// An error about these bytes.
    pub fn wrong(&self, why: &'static str) -> FormatError {
        FormatError::Malformed { what: self.what, why }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(self.wrong("it is cut off"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn slice(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(self.wrong("it is cut off"))?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// At the end.
    pub fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// At the end.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// At the end.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, signed.
    ///
    /// # Errors
    /// At the end.
    pub fn i64(&mut self) -> Result<i64, FormatError> {
        self.array().map(i64::from_le_bytes)
    }

    /// A length of four bytes and that many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn counted(&mut self) -> Result<&'a [u8], FormatError> {
        let len = usize::try_from(self.u32()?).map_err(|_| self.wrong("a length is too large"))?;
        self.slice(len)
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("bytes follow its end")) }
    }
}
