//! Our codec against another one, on the inputs of the table of differences.

use wherry_tests::differential::{DIFFERENCES, Verdict, case};

#[test]
fn every_difference_has_its_input_and_explains_it_alone() {
    for (at, row) in DIFFERENCES.iter().enumerate() {
        let (case, len) = case(row.input, row.version, row.sender).expect("a whole packet");
        assert_eq!(len, row.input.len(), "{row:?}");
        match case.verdict() {
            Verdict::Same => panic!("there is no difference: {row:?}: {case:#?}"),
            Verdict::Different(rows) => {
                let places = rows
                    .iter()
                    .map(|it| DIFFERENCES.iter().position(|row| std::ptr::eq(row, *it)));
                let places: Vec<_> = places.collect();
                assert_eq!(places, [Some(at)], "{row:?}: {rows:?}: {case:#?}");
            }
        }
    }
}
