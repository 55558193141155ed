//! Names of users and groups, from the machine's own lists.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::limits::ACCOUNTS_BYTES_MAX;

/// Names by number, read once. Directories of users (LDAP and the like) are not asked: a backup
/// must not wait for a network; those owners have no name, and their number is kept in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Owners {
    /// From `/etc/passwd` and `/etc/group`. A list that can't be read has no names.
    pub fn load() -> Self {
        Self { users: read(Path::new("/etc/passwd")), groups: read(Path::new("/etc/group")) }
    }

    /// The user's name; empty when there is none.
    pub fn user(&self, uid: u32) -> &[u8] {
        self.users.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// The group's name; empty when there is none.
    pub fn group(&self, gid: u32) -> &[u8] {
        self.groups.get(&gid).map_or(&[], Vec::as_slice)
    }
}

fn read(path: &Path) -> HashMap<u32, Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(ACCOUNTS_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_ok() { parse(&bytes) } else { HashMap::new() }
}

/// Lines `name:password:number:...`; the first name of a number counts, as in getpwuid(3).
fn parse(bytes: &[u8]) -> HashMap<u32, Vec<u8>> {
    let mut names = HashMap::new();
    for line in bytes.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b':');
        let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if let Some(number) = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()) {
            names.entry(number).or_insert_with(|| name.to_vec());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names =
            parse(b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:\n\nbad line\nz\xff:x:4294967294:\nn:x:-1:\n");
        assert_eq!(names.len(), 2);
        assert_eq!(names[&0], b"root");
        assert_eq!(names[&4_294_967_294], b"z\xff");
    }
}
