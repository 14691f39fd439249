// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small repeatable source of numbers for choosing places.

/// A generator of pseudo-random numbers; equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x2545_F491_4F6C_DD1D)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        // Weyl sequence with a finalizer: any seed is fine, also 0.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.draw() % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn equal_seeds_give_equal_numbers_and_others_do_not() {
        let (mut a, mut b, mut c) = (Random::new(1), Random::new(1), Random::new(2));
        let first: Vec<_> = (0..8).map(|_| a.draw()).collect();
        assert_eq!(first, (0..8).map(|_| b.draw()).collect::<Vec<_>>());
        assert_ne!(first, (0..8).map(|_| c.draw()).collect::<Vec<_>>());
    }
}
