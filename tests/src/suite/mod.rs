//! The black-box suite: what Wherry promises to its clients, one function a promise.
//!
//! Clause identifiers stand beside each promise; without a version they are those of MQTT 5.

pub mod attacks;
pub mod commands;
pub mod connect;
pub mod contract;
pub mod damage;
pub mod faults;
pub mod http;
pub mod kill;
pub mod message;
pub mod persistence;
pub mod power;
pub mod process;
pub mod properties;
pub mod qos;
pub mod retained;
pub mod session;
pub mod sessions;
pub mod shared;
pub mod stream;
pub mod subscribe;
pub mod sys;
pub mod will;

use crate::wire::Version;

/// Subscription option of MQTT 5: nothing of what the client itself publishes.
pub const NO_LOCAL: u8 = 1 << 2;

/// Subscription option of MQTT 5: the retain flag as it was published.
pub const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// Subscription option of MQTT 5: when retained messages are sent.
pub const fn retain_handling(handling: u8) -> u8 {
    handling << 4
}

/// Every version; what fails shows at which.
pub fn versions() -> impl Iterator<Item = Version> {
    Version::ALL
        .into_iter()
        .inspect(|version| eprintln!("{version:?}"))
}

/// Makes a `#[test]` of every function of the suite, run against the program at a path, with so
/// many shards: `wherry_tests::suite!(env!("CARGO_BIN_EXE_wherry"), 1);`
#[macro_export]
macro_rules! suite {
    ($path:expr, $shards:expr) => {
        $crate::tests_of! {
            $path, $shards;
            attacks:
                a1_first_packet_is_not_connect
                a2_huge_length_then_silence
                a3_malformed_variable_byte_integers
                a4_inner_length_past_the_end
                a5_malformed_connects_leave_nothing_behind
                a6_packets_out_of_place
                a7_empty_topics_and_bad_aliases
                a8_deep_topics_and_filters
                a9_dollar_names
                a10_shared_and_plain_filters
                a11_qos_2_identifiers_without_end
                a11_acknowledgements_that_never_come
                a19_takeover_storm
                a19_takeover_storm_of_a_lasting_session
                a20_slow_loris
                a20_slow_loris_by_not_reading
                a21_extreme_keep_alives
                a22_thousands_of_user_properties
                a22_user_properties_in_exchanges
                a23_strings_that_are_none
                a24_a_subscriber_that_does_not_read
                a27_many_retained_topics
                a27_filters_without_end
                a28_random_client_ids_with_long_expiry
                a29_will_storm
                a29_delayed_will_storm
                a29_wills_for_each_other
                a32_random_streams;
            commands:
                a_check_tells_what_would_be_listened_on
                without_a_file_there_are_the_defaults
                mistakes_are_told_and_nothing_is_started
                a_file_full_of_mistakes_does_not_fill_the_screen
                a_missing_file_is_told
                the_log_says_which_file_was_read_and_may_be_json
                the_health_of_a_broker_is_told;
            connect:
                connect_is_accepted
                connack_says_what_is_offered
                unsupported_protocol_level_is_refused
                bridges_are_let_in
                unknown_protocol_name_is_closed_without_a_word
                protocol_name_and_level_must_fit
                empty_client_id_v3_1_1
                client_id_length_v3_1
                long_client_id_is_accepted
                assigned_client_identifier_v5
                second_connect_is_a_protocol_error
                reserved_connect_flag_is_malformed
                contradictory_will_flags_are_malformed
                password_without_username
                connect_of_the_wrong_length_is_malformed
                connect_with_header_flags_is_malformed
                bad_connect_properties_are_refused
                unknown_authentication_method_is_refused
                packets_sent_before_connack_are_served_after_it
                packets_after_a_refusal_are_not_processed;
            contract:
                queues_keep_the_order_of_every_publisher
                subscriptions_outlive_a_kill_with_their_options
                replays_go_on_after_a_kill
                shared_subscriptions_outlive_a_kill
                what_was_taken_back_does_not_return
                expiry_goes_on_over_the_downtime
                sessions_end_over_the_downtime
                wills_wait_over_the_downtime
                the_dead_of_a_kill_leave_their_wills
                messages_are_restored_with_all_that_they_carry
                exchanges_go_on_after_a_kill;
            damage:
                a30_what_is_no_store_is_told_and_left_alone
                a_store_of_a_later_version_is_told_and_left_alone
                a30_a_damaged_store_is_told_and_what_can_be_read_comes_back
                an_empty_file_beside_a_log_is_no_new_store
                a30_a_log_that_was_cut_off_brings_back_what_is_whole
                a_copy_that_was_made_meanwhile_has_what_was_acknowledged;
            faults:
                a_disk_with_errors_delays_and_loses_nothing
                a_disk_that_takes_no_writes_delays_and_loses_nothing
                a_disk_that_does_not_sync_delays_and_loses_nothing
                a_full_disk_refuses_what_needs_room_alone
                a_disk_that_becomes_read_only_delays_and_loses_nothing
                a_slow_disk_delays_acknowledgements_alone
                a_slow_disk_slows_publishers_and_not_others
                a_broker_whose_store_fails_can_be_stopped
                a_disk_that_fails_at_the_start_is_told;
            http:
                a_broker_tells_how_it_is
                metrics_tell_what_happened
                a_head_has_no_body
                what_is_not_offered_is_refused
                slow_visitors_hold_up_nobody
                visitors_who_talk_nonsense_do_no_harm
                a_broker_that_stops_is_not_ready
                nobody_listens_for_http_unless_told_to
                an_open_http_listener_is_warned_about
                an_http_address_in_use_is_told;
            kill:
                kills_under_load_lose_and_double_nothing
                losses_of_power_under_load_lose_and_double_nothing
                who_does_not_sync_fails_under_load;
            message:
                properties_are_carried_end_to_end
                message_expiry_is_passed_on
                messages_cross_versions
                payloads_are_carried_unaltered
                large_payloads_reach_every_subscriber
                long_topics_are_carried
                messages_keep_their_order
                publish_of_no_qos
                wildcards_in_topic_names_are_refused
                wildcards_in_response_topics_are_refused;
            persistence:
                what_was_acknowledged_outlives_a_kill
                a12_a_kill_inside_an_exchange_doubles_nothing
                a_stop_leaves_nothing_behind
                a_store_is_used_by_one_process
                a_wrong_directory_is_noticed
                without_a_store_the_log_says_so;
            power:
                what_was_acknowledged_outlives_a_loss_of_power
                who_does_not_sync_loses_what_was_acknowledged
                what_a_sync_has_failed_for_is_written_again
                a_full_disk_delays_and_loses_nothing;
            process:
                help_and_version
                bad_arguments_are_named
                address_in_use_is_told
                several_listeners
                a_full_file_table_is_survived
                a_second_signal_ends_it_at_once
                a_supervisor_is_told
                limits_from_the_environment_hold
                at_the_end_wills_are_published_and_clients_told
                a_client_that_stays_does_not_delay_the_end;
            properties:
                aliases_of_clients
                aliases_to_clients
                problem_information_is_left_out
                retained_messages_name_their_subscription
                retained_messages_have_a_qos;
            qos:
                every_qos_between_all_versions
                publishers_are_told_the_outcome
                qos_2_is_exactly_once
                acknowledgements_of_nothing_do_no_harm
                acknowledgements_of_the_wrong_kind
                identifiers_in_use_are_told
                exchanges_out_of_form
                receive_maximum_of_the_client
                receive_maximum_of_the_broker
                messages_above_qos_0_keep_their_order
                refusals_of_subscribers_end_the_exchange;
            retained:
                retained_messages_are_set_replaced_and_cleared
                retained_messages_pass_live_unmarked
                retain_as_published
                resubscribing_sends_retained_again
                retain_handling_is_respected
                retained_messages_match_like_live_ones
                many_retained_messages_all_arrive
                retained_messages_expire
                retained_messages_belong_to_nobody;
            session:
                takeover_ends_the_older_connection
                takeover_storm_leaves_the_latest
                different_identifiers_live_side_by_side
                keep_alive_ends_a_silent_connection
                packets_keep_the_connection_alive
                an_unfinished_packet_does_not_keep_alive
                pings_are_answered
                nothing_counts_after_disconnect
                disconnect_in_every_form
                session_expiry_must_not_grow_at_disconnect
                clean_sessions_end_with_the_connection
                graceful_stop
                graceful_stop_waits_for_nobody_for_ever;
            sessions:
                sessions_are_resumed
                unacknowledged_messages_come_again
                received_identifiers_survive_a_reconnect
                takeover_hands_the_session_over
                sessions_expire
                long_expiries_are_cut_down
                waiting_messages_expire
                delayed_wills;
            shared:
                one_member_gets_each_message
                shared_and_plain_filters_are_two
                shared_subscriptions_bring_nothing_retained
                no_local_on_a_share_is_a_protocol_error
                members_that_leave_hand_on
                absent_members_come_last
                shares_have_subscription_identifiers;
            stream:
                byte_by_byte_is_understood
                arbitrary_pieces_are_understood
                coalesced_packets_are_answered_in_order
                half_closed_sockets_get_their_answers
                idle_connections_cost_no_time
                maximum_packet_size_of_the_client
                small_clients_are_told_the_reason_without_words
                maximum_packet_size_of_the_broker
                many_connections_are_served
                log_says_who_came_and_went;
            subscribe:
                wildcards_match_as_specified
                wildcards_do_not_reach_dollar_topics
                overlapping_subscriptions_give_one_copy
                suback_answers_every_filter
                many_filters_in_one_subscribe
                resubscribing_replaces
                unsubscribe_ends_exactly_that_filter
                invalid_filters_are_refused_one_by_one
                refused_filters_end_the_connection_v3_1
                malformed_subscribe_ends_the_connection
                no_local
                subscription_identifiers_come_back
                published_subscription_identifier_is_a_protocol_error;
            sys:
                the_broker_tells_of_itself
                what_it_tells_keeps_up_with_what_happens
                it_says_nothing_if_it_is_told_so;
            will:
                will_on_cut
                will_on_cut_inside_a_packet
                no_will_after_disconnect
                disconnect_with_will
                will_on_keep_alive_timeout
                will_on_protocol_error
                will_on_takeover
                will_may_be_retained
                will_payloads
                will_properties_are_carried
                wills_have_a_qos
                no_will_of_a_refused_client;
        }
    };
}

/// The part of [`suite!`](crate::suite!) that does the work.
#[doc(hidden)]
#[macro_export]
macro_rules! tests_of {
    ($path:expr, $shards:expr; $($module:ident: $($name:ident)+;)+) => {
        $(
            mod $module {
                $(
                    #[test]
                    fn $name() {
                        let (path, shards) = ($path, $shards);
                        let binary = $crate::broker::BinaryUnderTest { path, shards };
                        $crate::suite::$module::$name(&binary);
                    }
                )+
            }
        )+
    };
}
