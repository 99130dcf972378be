//! Profiles, contacts and blocks, and names kept at hand.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use mockall::predicate::{always, eq};

use super::mocks::{MockChatStore, MockContactStore, MockFanOut, MockGroupStore, MockUserStore};
use super::{ALICE, BOB, caller, down, env, limits, settings_of, strangers, user};
use crate::api::{Provision, UserApi};
use crate::id::{DeviceId, UserId};
use crate::limits::Limits;
use crate::ports::Erased;
use crate::service::{Names, UserDeps, UserService};
use crate::testing::SimEnv;
use crate::user::{ProfileUpdate, User};

struct Ports {
    users: MockUserStore,
    contacts: MockContactStore,
    fan_out: MockFanOut,
}

impl Ports {
    fn new() -> Self {
        Self { users: MockUserStore::new(), contacts: MockContactStore::new(), fan_out: MockFanOut::new() }
    }

    /// Everybody is there, with default settings, and nobody knows anybody.
    fn strangers() -> Self {
        let mut ports = Self::new();
        ports.users.expect_get().returning(|ids| Ok(ids.iter().map(|id| user(*id)).collect()));
        ports.users.expect_privacy().returning(|ids| Ok(settings_of(ids, |_, _| {})));
        ports.contacts.expect_relations().returning(|pairs| Ok(strangers(pairs)));
        ports
    }

    fn service(self) -> UserService {
        let users = Arc::new(self.users);
        let (env, limits) = (env(), limits());
        UserService::new(UserDeps {
            attachments: super::no_attachments(),
            names: Arc::new(Names::new(users.clone(), env.clone(), &limits)),
            users,
            contacts: Arc::new(self.contacts),
            chats: Arc::new(MockChatStore::new()),
            groups: Arc::new(MockGroupStore::new()),
            fan_out: Arc::new(self.fan_out),
            env,
            limits,
        })
    }
}

fn bad_fields(error: &crate::Error) -> Vec<&str> {
    error.details().iter().map(|detail| detail.field.as_str()).collect()
}

fn update(display_name: &str, status_text: &str, avatar_url: &str) -> ProfileUpdate {
    ProfileUpdate { display_name: Some(display_name.to_owned()), status_text: Some(status_text.to_owned()), avatar_url: Some(avatar_url.to_owned()) }
}

#[tokio::test]
async fn a_profile_update_names_every_bad_field_and_stores_nothing() {
    let service = Ports::new().service();
    let cases = [
        (update(&"ä".repeat(65), &"ä".repeat(141), "javascript:alert(1)"), vec!["display_name", "status_text", "avatar_url"]),
        (update("a\0b", "a\u{1b}b", "//elsewhere/x"), vec!["display_name", "status_text", "avatar_url"]),
        (update("a\nb", "a\nb", "https://"), vec!["display_name", "avatar_url"]),
        (update("", "", &format!("https://x/{}", "a".repeat(2048))), vec!["avatar_url"]),
        (update("", "", "https://x/\"onload"), vec!["avatar_url"]),
        (update("", "", "data:image/png;base64,AAAA"), vec!["avatar_url"]),
    ];
    for (update, fields) in cases {
        assert_eq!(bad_fields(&service.update_me(&caller(ALICE), update).await.expect_err("is refused")), fields);
    }
}

#[tokio::test]
async fn a_profile_update_is_stored_without_the_space_around_it() {
    for url in ["", "https://example.com/a.png", "http://example.com/ä", "/media/1"] {
        let mut ports = Ports::strangers();
        let expected = update(&"ä".repeat(64), "two\nlines", url);
        ports.users.expect_update().with(eq(ALICE), eq(expected), always()).once().returning(|id, _, _| Ok(Some(user(id))));
        ports.service().update_me(&caller(ALICE), update(&format!(" {} ", "ä".repeat(64)), "two\nlines\n", url)).await.expect("updates");
    }
}

#[tokio::test]
async fn an_empty_update_writes_nothing() {
    Ports::strangers().service().update_me(&caller(ALICE), ProfileUpdate::default()).await.expect("is a read");
}

#[tokio::test]
async fn an_account_is_erased_only_by_its_own_phone_and_its_sockets_are_cut() {
    let devices = vec![DeviceId::from_uuid(uuid::Uuid::nil())];
    for (phone, confirm, is_erased) in [
        (Some("+15550100001"), "+15550100001".to_owned(), true),
        (Some("+15550100001"), "+1 555 010-0001".to_owned(), true),
        (Some("+15550100001"), "+15550100002".to_owned(), false),
        (Some("+15550100001"), String::new(), false),
        (Some("+15550100001"), ALICE.to_string(), false),
        (None, ALICE.to_string(), true),
        (None, BOB.to_string(), false),
    ] {
        let mut ports = Ports::new();
        ports.users.expect_get().returning(move |ids| Ok(vec![User { phone: phone.and_then(|phone| phone.parse().ok()), ..user(ids[0]) }]));
        let ended = devices.clone();
        ports.users.expect_erase().times(usize::from(is_erased)).return_once(move |_, _, _| Ok(Erased::Done(ended)));
        let cut = devices.clone();
        ports.fan_out.expect_cut().withf(move |devices| *devices == cut).times(usize::from(is_erased)).return_const(());
        let result = ports.service().delete_me(&caller(ALICE), &confirm).await;
        assert_eq!(result.is_ok(), is_erased, "{phone:?} {confirm}");
        if let Err(error) = result {
            assert_eq!(bad_fields(&error), ["confirm"]);
        }
    }
}

#[tokio::test]
async fn one_to_a_thousand_numbers_can_be_synced() {
    let mut ports = Ports::new();
    ports.users.expect_by_phones().withf(|phones| phones.len() == 1000).once().returning(|_| Ok(vec![]));
    let service = ports.service();
    let numbers = |count: u32| (0..count).map(|number| format!("+1555010{number:04}")).collect::<Vec<_>>();
    assert_eq!(service.sync_contacts(&caller(ALICE), &numbers(1000)).await.expect("syncs"), []);
    for count in [0, 1001] {
        assert_eq!(bad_fields(&service.sync_contacts(&caller(ALICE), &numbers(count)).await.expect_err("is refused")), ["phone_numbers"]);
    }
}

#[tokio::test]
async fn numbers_are_normalised_and_merged_and_bad_ones_skipped() {
    let mut ports = Ports::strangers();
    let users = |ids: &[(UserId, &str)]| ids.iter().map(|(id, phone)| User { phone: phone.parse().ok(), ..user(*id) }).collect::<Vec<_>>();
    ports
        .users
        .expect_by_phones()
        .withf(|phones| phones.iter().map(crate::phone::Phone::as_str).eq(["+15550100001", "+15550100002"]))
        .returning(move |_| Ok(users(&[(ALICE, "+15550100001"), (BOB, "+15550100002")])));
    ports.contacts.expect_save().withf(|owner, contacts, _| *owner == ALICE && contacts == [BOB]).once().returning(|_, _, _| Ok(()));
    let numbers = ["+15550100002", "+1 (555) 010-0002", "0015550100002", "nonsense", "", "+15550100001"].map(str::to_owned);
    let found = ports.service().sync_contacts(&caller(ALICE), &numbers).await.expect("syncs");
    // Oneself is no contact.
    assert_eq!(found.iter().map(|found| (found.phone.as_str(), found.user_id)).collect::<Vec<_>>(), [("+15550100002", BOB)]);
}

#[tokio::test]
async fn nobody_blocks_themselves_or_nobody() {
    let mut ports = Ports::new();
    ports.users.expect_get().returning(|_| Ok(vec![]));
    let service = ports.service();
    assert_eq!(service.set_blocked(&caller(ALICE), ALICE, true).await.expect_err("is refused").code(), "BAD_REQUEST");
    assert_eq!(service.set_blocked(&caller(ALICE), BOB, true).await.expect_err("is refused").code(), "USER_NOT_FOUND");
}

#[tokio::test]
async fn erased_and_unknown_users_have_no_profile() {
    for users in [vec![], vec![User { is_deleted: true, ..user(BOB) }]] {
        let mut ports = Ports::new();
        ports.users.expect_get().return_once(|_| Ok(users));
        ports.users.expect_privacy().returning(|ids| Ok(settings_of(ids, |_, _| {})));
        ports.contacts.expect_relations().returning(|pairs| Ok(strangers(pairs)));
        assert_eq!(ports.service().profile(&caller(ALICE), BOB).await.expect_err("is refused").code(), "USER_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_host_cannot_give_two_users_one_phone_or_revive_an_erased_one() {
    for registered in [user(BOB), User { is_deleted: true, ..user(ALICE) }] {
        let mut ports = Ports::new();
        ports.users.expect_register().return_once(|_| Ok((registered, false)));
        let user = Provision { id: ALICE, phone: Some("+15550100001".to_owned()), display_name: "Alice".to_owned() };
        assert_eq!(ports.service().provision(user).await.expect_err("is refused").code(), "CONFLICT");
    }
}

/// Names over a store that calls everybody what `name` says at the moment.
fn names(name: &Arc<Mutex<&'static str>>, calls: usize, limits: &Limits, env: Arc<SimEnv>) -> Names {
    let mut users = MockUserStore::new();
    let name = Arc::clone(name);
    users.expect_get().times(calls).returning(move |ids| {
        let name = *name.lock().expect("is whole");
        Ok(ids.iter().map(|id| User { display_name: name.to_owned(), ..user(*id) }).collect())
    });
    Names::new(Arc::new(users), env, limits)
}

#[tokio::test]
async fn a_name_is_looked_up_once_until_it_changes_or_grows_old() {
    let name = Arc::new(Mutex::new("Alice"));
    let env = env();
    let names = names(&name, 3, &Limits::default(), env.clone());
    for _ in 0..3 {
        assert_eq!(&*names.of(ALICE).await.expect("is known"), "Alice");
    }
    *name.lock().expect("is whole") = "Alicia";
    names.forget(ALICE);
    assert_eq!(&*names.of(ALICE).await.expect("is known"), "Alicia");
    *name.lock().expect("is whole") = "Ali";
    env.advance(Limits::default().names_fresh - Duration::from_millis(1));
    assert_eq!(&*names.of(ALICE).await.expect("is known"), "Alicia");
    env.advance(Duration::from_millis(1));
    assert_eq!(&*names.of(ALICE).await.expect("is known"), "Ali");
}

#[tokio::test]
async fn a_look_up_that_a_change_overtook_is_not_kept() {
    let overtaken = Arc::new(OnceLock::<Arc<Names>>::new());
    let names = Arc::clone(&overtaken);
    let mut users = MockUserStore::new();
    users.expect_get().times(2).returning(move |ids| {
        // The name changes between the look-up and its answer.
        names.get().expect("is set").forget(ALICE);
        Ok(ids.iter().map(|id| user(*id)).collect())
    });
    let names = overtaken.get_or_init(|| Arc::new(Names::new(Arc::new(users), env(), &limits())));
    names.of(ALICE).await.expect("is known");
    assert_eq!(names.kept(), 0);
    names.of(ALICE).await.expect("is looked up again");
}

#[tokio::test]
async fn no_more_names_are_kept_than_allowed() {
    let name = Arc::new(Mutex::new("Somebody"));
    let limits = Limits { names: 2, ..Limits::default() };
    let names = names(&name, 10, &limits, env());
    for number in 0..10 {
        names.of(UserId::from_uuid(uuid::Uuid::from_u128(number))).await.expect("is known");
        assert!(names.kept() <= 2);
    }
}

#[tokio::test]
async fn a_name_that_could_not_be_looked_up_is_not_made_up() {
    let mut users = MockUserStore::new();
    users.expect_get().returning(|_| down());
    let names = Names::new(Arc::new(users), env(), &limits());
    assert_eq!(names.of(ALICE).await.expect_err("is unknown").code(), "UNAVAILABLE");
}
