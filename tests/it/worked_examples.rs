//! The worked examples of the rules, one test a number: each is decided by
//! `decide()` on a state of its own and by a server over the wire.
//!
//! Times are hours. Unless said, the scope is individual/sms/marketing, which
//! is opt_in; merchant/sms/marketing is opt_out, transactional exempt.

mod scene;

use std::io::Cursor;

use sendgate::{
    domain::{policy::STARTER, reason::Reason, state::Status, time::Precision},
    formats::{Defaults, ItemReader, IysMapping, Meaning, Opened},
    proto::v1::{ContactKind, ImportRequest, Outcome},
};

use self::scene::{Individual, Merchant, Scene, hour, to_the};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

#[tokio::test(flavor = "multi_thread")]
async fn example_01_a_grant_permits() {
    let mut scene = Scene::start().await;
    scene.at(hour(1)).await;
    scene.grants(Individual, "marketing", 1).await;
    scene.expect(Individual, "marketing", Reason::Permitted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_02_a_later_withdrawal_opts_out_in_either_order_of_delivery() {
    let mut scene = Scene::start().await;
    scene.at(hour(3)).await;
    scene.grants(Individual, "marketing", 1).await;
    scene.withdraws("sms", "marketing", 2).await;
    scene.expect(Individual, "marketing", Reason::OptedOut).await;

    scene.somebody_else();
    scene.withdraws("sms", "marketing", 2).await;
    scene.grants(Individual, "marketing", 1).await;
    scene.expect(Individual, "marketing", Reason::OptedOut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_03_at_equal_times_the_withdrawal_wins() {
    let mut scene = Scene::start().await;
    scene.at(hour(3)).await;
    scene.withdraws("sms", "marketing", 2).await;
    scene.grants(Individual, "marketing", 2).await;
    scene.expect(Individual, "marketing", Reason::OptedOut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_04_a_newer_grant_reopens_its_own_purpose_only() {
    let mut scene = Scene::start().await;
    scene.at(hour(3)).await;
    scene.grants(Individual, "marketing", 1).await;
    scene.grants(Individual, "newsletter", 1).await;
    scene.withdraws("sms", "*", 2).await;
    scene.expect(Individual, "marketing", Reason::ChannelOptOut).await;
    scene.grants(Individual, "marketing", 3).await;
    scene.expect(Individual, "marketing", Reason::Permitted).await;
    scene.expect(Individual, "newsletter", Reason::ChannelOptOut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_05_a_consent_is_over_at_its_end_and_not_before() {
    let mut scene = Scene::start().await;
    scene.at(hour(1)).await;
    scene.grants_until(Individual, "marketing", 1, Some(5)).await;
    scene.at(hour(5) - 1).await;
    scene.expect(Individual, "marketing", Reason::Permitted).await;
    scene.at(hour(5)).await;
    scene.expect(Individual, "marketing", Reason::Expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_06_the_unknown_are_refused_under_opt_in_and_permitted_under_opt_out() {
    let scene = Scene::start().await;
    scene.expect(Individual, "marketing", Reason::NoConsent).await;
    scene.expect(Merchant, "marketing", Reason::Permitted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_07_a_lift_ends_a_hard_bounce_and_a_grant_does_not() {
    let mut scene = Scene::start().await;
    scene.at(hour(6)).await;
    scene.grants(Individual, "marketing", 1).await;
    scene.suppressed(Reason::HardBounce, 2).await;
    scene.grants(Individual, "marketing", 3).await;
    scene.expect(Individual, "marketing", Reason::HardBounce).await;
    scene.lifted(Reason::HardBounce, 4).await;
    scene.expect(Individual, "marketing", Reason::Permitted).await;
    assert_eq!(scene.suppressed(Reason::HardBounce, 2).await, Outcome::Duplicate);
    scene.expect(Individual, "marketing", Reason::Permitted).await;
    assert_eq!(scene.suppressed(Reason::HardBounce, 5).await, Outcome::Applied);
    scene.expect(Individual, "marketing", Reason::HardBounce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_08_only_a_grant_after_the_erasure_brings_an_erased_contact_back() {
    let mut scene = Scene::start().await;
    scene.at(hour(2)).await;
    scene.grants(Individual, "marketing", 1).await;
    scene.is_erased().await;
    scene.at(hour(4)).await;
    scene.expect(Individual, "marketing", Reason::NoConsent).await;
    scene.expect(Merchant, "marketing", Reason::Erased).await;
    let old = to_the(Precision::Millisecond, hour(1));
    let outcome = scene.grants_stated(Individual, "marketing", old, None).await;
    assert_eq!(outcome, Outcome::Rejected);
    scene.expect(Individual, "marketing", Reason::NoConsent).await;
    scene.grants(Individual, "marketing", 3).await;
    scene.expect(Individual, "marketing", Reason::Permitted).await;
    // The grant was the individual's; the merchant has to give one too.
    scene.expect(Merchant, "marketing", Reason::Erased).await;
    scene.grants(Merchant, "marketing", 3).await;
    scene.expect(Merchant, "marketing", Reason::Permitted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_09_an_exempt_purpose_heeds_blocks_but_neither_opt_outs_nor_objections() {
    let mut scene = Scene::start().await;
    scene.at(hour(2)).await;
    scene.withdraws("*", "*", 1).await;
    scene.expect(Individual, "transactional", Reason::Permitted).await;

    scene.somebody_else();
    scene.suppressed(Reason::Restricted, 1).await;
    scene.expect(Individual, "transactional", Reason::Restricted).await;

    scene.somebody_else();
    scene.suppressed(Reason::Objected, 1).await;
    scene.expect(Individual, "transactional", Reason::Permitted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_10_a_grant_ends_an_objection_in_its_own_purpose_only() {
    let mut scene = Scene::start().await;
    scene.at(hour(3)).await;
    scene.grants(Individual, "marketing", 1).await;
    scene.suppressed(Reason::Objected, 2).await;
    scene.expect(Individual, "marketing", Reason::Objected).await;
    scene.grants(Individual, "newsletter", 3).await;
    scene.expect(Individual, "newsletter", Reason::Permitted).await;
    scene.expect(Individual, "marketing", Reason::Objected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_11_a_withdrawal_without_a_type_binds_both_types() {
    let mut scene = Scene::start().await;
    scene.at(hour(2)).await;
    scene.withdraws("*", "*", 2).await;
    scene.expect(Merchant, "marketing", Reason::ContactOptOut).await;
    scene.expect(Individual, "marketing", Reason::ContactOptOut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_12_a_grant_holds_off_a_complaint_only_until_it_expires() {
    let mut scene = Scene::start().await;
    scene.at(hour(4)).await;
    scene.withdraws("sms", "marketing", 1).await;
    scene.grants_until(Merchant, "marketing", 2, Some(5)).await;
    scene.suppressed(Reason::SpamComplaint, 1).await;
    scene.expect(Merchant, "marketing", Reason::Permitted).await;
    scene.at(hour(9)).await;
    scene.expect(Merchant, "marketing", Reason::SpamComplaint).await;

    scene.somebody_else();
    scene.withdraws("sms", "marketing", 1).await;
    scene.grants_until(Merchant, "marketing", 2, Some(5)).await;
    scene.expect(Merchant, "marketing", Reason::Expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_13_a_withdrawal_to_the_second_counts_from_the_end_of_its_second() {
    let mut scene = Scene::start().await;
    let noon = hour(12);
    scene.at(hour(13)).await;
    scene.withdraws_stated("sms", "marketing", to_the(Precision::Second, noon)).await;
    let half_a_second_later = to_the(Precision::Millisecond, noon + 500);
    scene.grants_stated(Individual, "marketing", half_a_second_later, None).await;
    scene.expect(Individual, "marketing", Reason::OptedOut).await;
    let next_second = to_the(Precision::Millisecond, noon + SECOND);
    scene.grants_stated(Individual, "marketing", next_second, None).await;
    scene.expect(Individual, "marketing", Reason::Permitted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_14_a_grant_stated_ahead_counts_as_of_its_recording() {
    let mut scene = Scene::start().await;
    let ten = hour(10);
    scene.at(ten).await;
    let ahead = to_the(Precision::Millisecond, ten + 2 * MINUTE);
    let outcome = scene.grants_stated(Individual, "marketing", ahead, None).await;
    assert_eq!(outcome, Outcome::Applied);
    scene.expect(Individual, "marketing", Reason::Permitted).await;
    scene.at(ten + MINUTE).await;
    let stop = to_the(Precision::Millisecond, ten + MINUTE);
    scene.withdraws_stated("sms", "marketing", stop).await;
    scene.expect(Individual, "marketing", Reason::OptedOut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn example_15_a_ret_of_iys_withdraws_every_channel_of_its_type() {
    const CHANNELS: [&str; 3] = ["sms", "mms", "rcs"];
    let mut scene = Scene::start().await;
    scene.at(hour(3)).await;
    // One grant came by each channel; in the file times are Turkey's (UTC+3).
    let grant = |channel: &str, address: &str| sendgate::proto::v1::ConsentEvent {
        channel: channel.to_owned(),
        purpose: "newsletter".to_owned(),
        ..crate::support::grant(address, hour(1))
    };
    let events = CHANNELS.map(|channel| grant(channel, &scene.address())).to_vec();
    let request = sendgate::proto::v1::RecordRequest { events };
    scene.server().consent().record(request).await.unwrap();
    for channel in CHANNELS {
        scene.enter(channel, "newsletter", Status::Granted, 1);
        scene.expect_on(channel, Individual, "newsletter", Reason::Permitted).await;
    }

    let file = format!(
        "creationDate,transactionId,recipient,recipientType,type,status,consentDate,source\n\
         2026-01-01 05:00:00,t1,{},BIREYSEL,MESAJ,RET,2026-01-01 05:00:00,HS_MESAJ\n",
        scene.address()
    );
    let mapping = IysMapping::from_policy(STARTER, "main").unwrap();
    let defaults = Defaults {
        brand: "main".to_owned(),
        kind: ContactKind::Phone,
        region: "TR".to_owned(),
        ..Defaults::default()
    };
    let opened = Opened::read(Cursor::new(file), "TR").unwrap();
    let mut rows = ItemReader::new(opened, Meaning::IysDaily(mapping), defaults).unwrap();
    let changes = rows.next_row().unwrap().unwrap().changes;
    let chunk = ImportRequest { items: changes.unwrap(), dry_run: false };
    let mut answers =
        scene.server().consent().import(tokio_stream::iter([chunk])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.applied, answer.rejected), (3, 0));

    for channel in CHANNELS {
        scene.enter(channel, "*", Status::Withdrawn, 2);
        scene.expect_on(channel, Individual, "newsletter", Reason::ChannelOptOut).await;
    }
}
