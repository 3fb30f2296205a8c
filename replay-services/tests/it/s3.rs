use replay_services::s3::{BUCKET, Options, start};

use crate::{assert_leaves_nothing, request};

#[test]
fn moto_has_the_bucket_and_makes_it_again_after_a_restart() {
    let server = start(Options::default().moto(true)).unwrap();
    let object = format!("/{BUCKET}/word");
    assert_eq!(request(server.port(), "PUT", &object, "kept").0, 200);
    assert_eq!(request(server.port(), "GET", &object, ""), (200, "kept".to_owned()));
    server.kill().unwrap();
    server.restart().unwrap();
    assert_eq!(request(server.port(), "GET", &object, "").0, 404, "moto keeps nothing");
    assert_eq!(request(server.port(), "PUT", &object, "new").0, 200);
    assert_leaves_nothing(server);
}
