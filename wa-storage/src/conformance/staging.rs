//! The contract of `Staging`.

use super::Subject;

/// Case.
pub async fn a_staged_file_holds_what_was_written(s: &Subject) {
    let (mut one, mut other) = (s.staging.stage().await.expect("staged"), s.staging.stage().await.expect("staged"));
    assert_ne!(one.path(), other.path());
    for piece in ["one ", "after", " the other"] {
        one.write(piece.as_bytes()).await.expect("written");
    }
    let large = vec![7; 1 << 20];
    other.write(&large).await.expect("written");
    for file in [&mut one, &mut other] {
        file.finish().await.expect("finished");
    }
    assert_eq!(std::fs::read(one.path()).expect("read"), b"one after the other");
    assert!(std::fs::read(other.path()).expect("read") == large, "other bytes came back");
}

/// Case.
pub async fn a_dropped_staged_file_vanishes(s: &Subject) {
    let mut staged = s.staging.stage().await.expect("staged");
    staged.write(b"something").await.expect("written");
    let path = staged.path().to_owned();
    assert!(path.exists());
    drop(staged);
    assert!(!path.exists());
}

/// Case.
pub async fn a_staged_file_that_was_moved_away_stays_where_it_is(s: &Subject) {
    let mut staged = s.staging.stage().await.expect("staged");
    staged.write(b"something").await.expect("written");
    staged.finish().await.expect("finished");
    let elsewhere = staged.path().with_extension("kept");
    std::fs::rename(staged.path(), &elsewhere).expect("moved");
    drop(staged);
    assert_eq!(std::fs::read(&elsewhere).expect("read"), b"something");
    std::fs::remove_file(elsewhere).expect("removed");
}
