//! One-time passwords in memory. A restart forgets them, and their owners request new ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use wa_core::error::StoreError;
use wa_core::phone::Phone;
use wa_core::ports::{Env, OtpStore, Stored};
use wa_core::session::OtpAttempt;
use wa_core::time::Timestamp;

use super::{BACKEND, locked};

/// Codes held at a time. Live ones are never dropped to make room, or flooding would be a way around the attempt limit.
const CODES: usize = 100_000;

struct Code {
    hash: String,
    expires_at: Timestamp,
    attempts: u32,
    used: bool,
}

/// One-time passwords in memory.
pub(crate) struct MemoryOtpStore {
    env: Arc<dyn Env>,
    capacity: usize,
    codes: Mutex<HashMap<Phone, Code>>,
}

impl MemoryOtpStore {
    pub(crate) fn new(env: Arc<dyn Env>) -> Self {
        Self { env, capacity: CODES, codes: Mutex::default() }
    }

    fn make_room(&self, codes: &mut HashMap<Phone, Code>, phone: &Phone) -> Stored<()> {
        if codes.len() >= self.capacity && !codes.contains_key(phone) {
            let now = self.env.now();
            codes.retain(|_, code| code.expires_at > now && !code.used);
            if codes.len() >= self.capacity {
                return Err(StoreError::unavailable(BACKEND, "too many one-time passwords are under way"));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl OtpStore for MemoryOtpStore {
    async fn ready(&self, phone: &Phone) -> Stored<()> {
        self.make_room(&mut locked(&self.codes), phone)
    }

    async fn put(&self, phone: &Phone, hash: &str, expires_at: Timestamp) -> Stored<()> {
        let mut codes = locked(&self.codes);
        self.make_room(&mut codes, phone)?;
        codes.insert(phone.clone(), Code { hash: hash.to_owned(), expires_at, attempts: 0, used: false });
        Ok(())
    }

    async fn attempt(&self, phone: &Phone, max_attempts: u32, now: Timestamp) -> Stored<OtpAttempt> {
        if wa_core::faults::planted("attempts_lost") {
            // Read, and written back a moment later.
            let before = locked(&self.codes).get(phone).map_or(0, |code| code.attempts);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            if let Some(code) = locked(&self.codes).get_mut(phone) {
                code.attempts = before;
            }
        }
        let mut codes = locked(&self.codes);
        let Some(code) = codes.get_mut(phone).filter(|code| !code.used && now < code.expires_at) else {
            return Ok(OtpAttempt::Absent);
        };
        if code.attempts >= max_attempts {
            return Ok(OtpAttempt::Exhausted { expires_at: code.expires_at });
        }
        code.attempts += 1;
        Ok(OtpAttempt::Allowed { hash: code.hash.clone(), attempt: code.attempts, expires_at: code.expires_at })
    }

    async fn consume(&self, phone: &Phone, hash: &str) -> Stored<bool> {
        let mut codes = locked(&self.codes);
        let Some(code) = codes.get_mut(phone).filter(|code| !code.used && code.hash == hash) else {
            return Ok(false);
        };
        code.used = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wa_core::testing::SimEnv;

    use super::*;

    #[tokio::test]
    async fn a_full_store_refuses_new_codes_until_old_ones_expire() {
        let env = Arc::new(SimEnv::new(1));
        let store = MemoryOtpStore { env: env.clone(), capacity: 2, codes: Mutex::default() };
        let phone = |n: u32| format!("+1555010{n:04}").parse::<Phone>().expect("a test number");
        let expires_at = env.now().after(Duration::from_secs(300));
        store.put(&phone(1), "a", expires_at).await.expect("room");
        store.put(&phone(2), "b", expires_at).await.expect("room");
        assert!(store.ready(&phone(3)).await.is_err() && store.put(&phone(3), "c", expires_at).await.is_err());
        store.ready(&phone(2)).await.expect("replacing needs no room");
        store.put(&phone(2), "d", expires_at).await.expect("replacing needs no room");
        env.advance(Duration::from_secs(300));
        store.put(&phone(3), "c", env.now().after(Duration::from_secs(300))).await.expect("the old ones have expired");
    }
}
