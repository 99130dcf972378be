//! The use cases behind each trait of [`crate::api`], over the traits of [`crate::ports`].
