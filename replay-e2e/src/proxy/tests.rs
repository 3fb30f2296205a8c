use std::time::Instant;

use super::*;

/// A server that sends back what it gets, and says what it has got.
async fn echo() -> (String, watch::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = watch::channel(Vec::new());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                while let Ok(len @ 1..) = stream.read(&mut piece).await {
                    tell.send_modify(|all| all.extend(&piece[..len]));
                    if stream.write_all(&piece[..len]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, told)
}

async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

/// Whether nothing comes for a while; that nothing ever comes cannot be seen.
async fn is_silent(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await.is_err()
}

async fn opened() -> (Proxy, TcpStream, watch::Receiver<Vec<u8>>) {
    let (target, told) = echo().await;
    let proxy = Proxy::start(&target).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut stream, "one").await.unwrap(), "one");
    (proxy, stream, told)
}

async fn new_connection(proxy: &Proxy) -> io::Result<String> {
    ask(&mut TcpStream::connect(proxy.address()).await?, "new").await
}

#[tokio::test]
async fn without_a_fault_everything_arrives_and_so_does_the_end() {
    let (proxy, mut stream, told) = opened().await;
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!((told.borrow().as_slice(), proxy.fired()), (&b"one"[..], 0));
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_lets_new_connections_live() {
    let (proxy, mut stream, _) = opened().await;
    proxy.set(Fault::Cut);
    assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(new_connection(&proxy).await.unwrap(), "new");
    assert_eq!(proxy.fired(), 1);
}

#[tokio::test]
async fn so_many_connections_are_refused() {
    let (proxy, _stream, _) = opened().await;
    proxy.set(Fault::Refuse(2));
    for _ in 0..2 {
        new_connection(&proxy).await.unwrap_err();
    }
    assert_eq!(new_connection(&proxy).await.unwrap(), "new");
}

#[tokio::test]
async fn half_open_connections_are_silent_both_ways_and_new_ones_are_not() {
    let (proxy, mut stream, told) = opened().await;
    proxy.set(Fault::HalfOpen);
    stream.write_all(b"two").await.unwrap();
    assert!(is_silent(&mut stream).await);
    assert_eq!(told.borrow().as_slice(), b"one");
    assert_eq!(new_connection(&proxy).await.unwrap(), "new");
    proxy.heal();
    assert!(stream.read(&mut [0]).await.is_err(), "a stream with a hole in it does not go on");
}

#[tokio::test]
async fn a_black_hole_swallows_new_connections_too_until_it_is_healed() {
    let (proxy, mut stream, _) = opened().await;
    proxy.set(Fault::BlackHole);
    stream.write_all(b"two").await.unwrap();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    new.write_all(b"new").await.unwrap();
    assert!(is_silent(&mut stream).await && is_silent(&mut new).await);
    proxy.heal();
    assert_eq!(new_connection(&proxy).await.unwrap(), "new");
}

#[tokio::test]
async fn a_lost_answer_is_to_a_request_that_arrived() {
    let (proxy, mut stream, mut told) = opened().await;
    proxy.set(Fault::LoseAnswers);
    stream.write_all(b"two").await.unwrap();
    told.wait_for(|all| all == b"onetwo").await.unwrap();
    assert!(is_silent(&mut stream).await);
    assert_eq!(new_connection(&proxy).await.unwrap(), "new");
}

#[tokio::test]
async fn a_request_is_cut_after_so_many_bytes_once() {
    let (proxy, mut stream, mut told) = opened().await;
    proxy.set(Fault::ResetRequest(4));
    stream.write_all(b"abcdefgh").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    told.wait_for(|all| all.len() >= 3).await.unwrap();
    assert!(b"oneabcd".starts_with(told.borrow().as_slice()), "{:?}", told.borrow());
    assert_eq!(new_connection(&proxy).await.unwrap(), "new");
    assert_eq!(proxy.fired(), 1);
}

#[tokio::test]
async fn an_answer_is_cut_once_the_request_arrived() {
    let (proxy, mut stream, mut told) = opened().await;
    proxy.set(Fault::ResetAnswer(0));
    stream.write_all(b"two").await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    told.wait_for(|all| all == b"onetwo").await.unwrap();
    assert_eq!(new_connection(&proxy).await.unwrap(), "new");
}

#[tokio::test]
async fn what_is_delayed_comes_later_and_whole() {
    let (proxy, mut stream, _) = opened().await;
    let started = Instant::now();
    proxy.set(Fault::Delay(Duration::from_millis(20)));
    assert_eq!(ask(&mut stream, "two").await.unwrap(), "two");
    assert!(started.elapsed() >= Duration::from_millis(40));
    proxy.set(Fault::LateAnswer(Duration::from_millis(20)));
    assert_eq!(ask(&mut stream, "three").await.unwrap(), "three");
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_reset() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(&unused.to_string()).await.unwrap();
    new_connection(&proxy).await.unwrap_err();
}
