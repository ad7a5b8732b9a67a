//! The cursor, the marks and open dialogs hold an object, whatever happens to the rows around it.

use super::Tui;
use super::object::{create_map, create_pod, delete_map, kill_pod, maps, pods};

/// A table of three config maps (and the one every namespace has), with the cursor on `middle`.
async fn on_middle() -> Tui {
    let mut tui = Tui::start(120, 40).await;
    for name in ["alpha", "middle", "zulu"] {
        create_map(tui.client(), name).await;
    }
    tui.keys(":configmaps<ret>").await.until("zulu").await;
    while !tui.cursor_line().contains("middle") {
        let before = tui.cursor_line();
        tui.keys("j").await;
        assert_ne!(tui.cursor_line(), before, "the cursor moves");
    }
    tui
}

#[tokio::test(start_paused = true)]
async fn rows_inserted_above_do_not_move_the_cursor_to_another_object() {
    let mut tui = on_middle().await;
    let before = tui.cursor_row().expect("a cursor");
    for name in ["aaa", "bbb", "ccc"] {
        create_map(tui.client(), name).await;
    }
    tui.until("ccc").await;
    assert!(tui.cursor_line().contains("middle"), "{}", tui.screen());
    assert_eq!(
        tui.cursor_row(),
        Some(before + 3),
        "the row moved down under the cursor"
    );
    tui.keys("<C-x>").await.shows(&["delete configmap middle?"]);
}

#[tokio::test(start_paused = true)]
async fn rows_removed_above_do_not_move_the_cursor_to_another_object() {
    let mut tui = on_middle().await;
    delete_map(tui.client(), "alpha").await;
    tui.until_gone("alpha").await;
    assert!(tui.cursor_line().contains("middle"), "{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn when_the_object_under_the_cursor_goes_its_neighbour_is_next_and_nothing_else_moves() {
    let mut tui = on_middle().await;
    delete_map(tui.client(), "middle").await;
    tui.until_gone("middle").await;
    assert!(tui.cursor_line().contains("zulu"), "{}", tui.screen());
    // A key that was meant for the object before does nothing to the one that slid into its place.
    tui.press("<C-x>").await;
    tui.hides(&["delete configmap"])
        .shows(&["middle is gone: the cursor is on zulu now"]);
    tui.wait(std::time::Duration::from_secs(2)).await;
    tui.keys("<C-x>").await.shows(&["delete configmap zulu?"]);
    tui.keys("<esc>").await;
    delete_map(tui.client(), "zulu").await;
    tui.until_gone("zulu").await;
    assert!(
        !tui.cursor_line().is_empty(),
        "the last row has the cursor\n{}",
        tui.screen()
    );
}

#[tokio::test(start_paused = true)]
async fn a_delete_dialog_deletes_what_it_names_whatever_moves_behind_it() {
    let mut tui = on_middle().await;
    tui.keys("<C-x>").await.shows(&["delete configmap middle?"]);
    for name in ["aaa", "bbb"] {
        create_map(tui.client(), name).await;
    }
    delete_map(tui.client(), "alpha").await;
    tui.until("bbb").await.shows(&["delete configmap middle?"]);
    tui.keys("y").await.until_gone("middle").await;
    let left = maps(tui.client()).list(&Default::default()).await.expect("listed");
    let names: Vec<_> = left
        .items
        .iter()
        .filter_map(|map| map.metadata.name.as_deref())
        .collect();
    for name in ["aaa", "bbb", "zulu"] {
        assert!(names.contains(&name), "{name} is still there: {names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_dialog_whose_object_is_gone_says_so_and_spares_its_namesake() {
    let mut tui = on_middle().await;
    tui.keys("<C-x>").await.shows(&["delete configmap middle?"]);
    delete_map(tui.client(), "middle").await;
    let second = create_map(tui.client(), "middle").await;
    tui.until("gone already").await;
    tui.keys("y").await;
    tui.wait(std::time::Duration::from_secs(2)).await;
    let left = maps(tui.client()).get("middle").await.expect("the namesake lives");
    assert_eq!(left.metadata.uid, second.metadata.uid);
}

#[tokio::test(start_paused = true)]
async fn a_mark_does_not_pass_to_a_namesake() {
    let mut tui = on_middle().await;
    tui.keys("<space>").await.shows(&["1 marked"]);
    delete_map(tui.client(), "middle").await;
    create_map(tui.client(), "middle").await;
    tui.until_gone("1 marked").await.shows(&["middle"]);
}

#[tokio::test(start_paused = true)]
async fn marked_objects_are_what_is_deleted_wherever_the_cursor_is() {
    let mut tui = on_middle().await;
    tui.keys("<space>").await;
    tui.keys("gg").await;
    create_map(tui.client(), "aaa").await;
    tui.until("aaa").await;
    tui.keys("<C-x>").await.shows(&["delete configmap middle?"]);
    tui.keys("y")
        .await
        .until_gone("middle")
        .await
        .shows(&["aaa", "alpha", "zulu"]);
}

#[tokio::test(start_paused = true)]
async fn a_describe_view_stays_on_its_object_while_the_table_changes() {
    let mut tui = on_middle().await;
    tui.keys("d").await.shows(&["middle"]);
    create_map(tui.client(), "aaa").await;
    delete_map(tui.client(), "alpha").await;
    tui.wait(std::time::Duration::from_secs(1)).await.shows(&["middle"]);
    tui.keys("<esc>").await.until("aaa").await;
    assert!(tui.cursor_line().contains("middle"), "{}", tui.screen());
}

#[tokio::test(start_paused = true)]
async fn the_cursor_stays_on_its_pod_while_the_order_changes() {
    let mut tui = Tui::start(120, 40).await;
    for name in ["one", "two", "three"] {
        create_pod(tui.client(), name).await;
    }
    tui.until_screen("all run", |screen| screen.matches("Running").count() >= 3)
        .await;
    while !tui.cursor_line().contains("two") {
        tui.keys("j").await;
    }
    for sort in ["sa", "sn", "sn", "ss"] {
        tui.keys(&format!("o{}", &sort[1..])).await;
        assert!(tui.cursor_line().contains("two"), "sorted by {sort}\n{}", tui.screen());
    }
    kill_pod(tui.client(), "one").await;
    tui.until_gone("one").await;
    assert!(tui.cursor_line().contains("two"), "{}", tui.screen());
    assert!(pods(tui.client()).get_opt("two").await.expect("asked").is_some());
}
