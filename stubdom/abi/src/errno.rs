// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's error numbers (`public/errno.h`), positive.

macro_rules! errors {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(#[doc = concat!("`XEN_", stringify!($name), "`.")] pub const $name: u16 = $number;)*

        /// The name of an error number, for messages.
        pub const fn name(errno: u16) -> &'static str {
            match errno {
                $($name => stringify!($name),)*
                _ => "unknown error",
            }
        }

        /// The number of a name, as xenstore's error replies carry it.
        pub fn from_name(name: &[u8]) -> Option<u16> {
            $(if name == stringify!($name).as_bytes() { return Some($name); })*
            None
        }

        /// Every number here with its name, for the comparison with Xen's headers.
        pub const ALL: &[(&str, u16)] = &[$((stringify!($name), $name)),*];
    };
}

errors! {
    EPERM = 1,
    ENOENT = 2,
    ESRCH = 3,
    EIO = 5,
    E2BIG = 7,
    EBADF = 9,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EFAULT = 14,
    EBUSY = 16,
    EEXIST = 17,
    EXDEV = 18,
    ENODEV = 19,
    EISDIR = 21,
    EINVAL = 22,
    ENOSPC = 28,
    EROFS = 30,
    ERANGE = 34,
    ENOSYS = 38,
    ENOTEMPTY = 39,
    EOVERFLOW = 75,
    EOPNOTSUPP = 95,
    EISCONN = 106,
}

/// Splits what a hypercall returned: negative values are error numbers.
pub const fn check(result: i64) -> Result<u64, u16> {
    if result < 0 {
        Err(result.unsigned_abs() as u16)
    } else {
        Ok(result.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_result_is_an_error_number() {
        assert_eq!(check(-13), Err(EACCES));
        assert_eq!(check(64), Ok(64));
        assert_eq!(name(EACCES), "EACCES");
        assert_eq!(from_name(b"ENOENT"), Some(ENOENT));
        assert_eq!(from_name(b"ENOENT\0"), None);
    }
}
