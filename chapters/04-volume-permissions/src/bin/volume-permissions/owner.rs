//! The user and the group that a file belongs to.

use std::fmt::{self, Display};

use rustix::fs::{Gid, Statx, Uid};
use sidecar_kit::Setting;

/// A user and a group, by number: an image without `/etc/passwd` has no names for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: Uid,
    pub(crate) group: Gid,
}

impl Owner {
    /// Whether a file belongs to them already.
    pub(crate) fn has(self, file: &Statx) -> bool {
        (file.stx_uid, file.stx_gid) == (self.user.as_raw(), self.group.as_raw())
    }
}

impl Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user.as_raw(), self.group.as_raw())
    }
}

impl Setting for Owner {
    const EXAMPLE: &'static str = "65532:65532";

    fn parse(value: &str) -> Result<Self, String> {
        let number = |text: &str| match text.parse::<u32>() {
            // To chown(2) the last number means that nothing changes.
            Ok(number) if number != u32::MAX => Ok(number),
            _ => Err(format!("`{text}` is no id")),
        };
        let (user, group) = value
            .split_once(':')
            .ok_or_else(|| "it is not two numbers with a colon between".to_owned())?;
        Ok(Self {
            user: Uid::from_raw(number(user)?),
            group: Gid::from_raw(number(group)?),
        })
    }
}
