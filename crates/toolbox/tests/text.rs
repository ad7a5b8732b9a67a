//! Programs that read and write text, alone and in pipelines.

use super::{feed, program, sh};

#[test]
fn everyday_pipelines_work() {
    for (script, expected) in [
        (
            "printf 'b\\na\\nc\\na\\n' | sort | uniq -c | sort -rn | head -1 | tr -s ' '",
            " 2 a\n",
        ),
        ("echo hello | sed 's/l\\+/L/;s/\\(.\\)o/\\1-o/'", "heL-o\n"),
        ("printf '1\\n2\\n3\\n4\\n' | sed -n '2,3p;$='", "2\n3\n4\n"),
        ("printf 'a=1\\nb=2\\n' | sed -E 's/(.)=(.)/\\2=\\1/; /2/d'", "1=a\n"),
        (
            "printf 'a\\nb\\n' | sed -e '1i top' -e '$a end' -e 's/b/[&]/'",
            "top\na\n[b]\nend\n",
        ),
        (
            "printf 'one\\ntwo\\nthree\\n' | sed ':a;N;$!ba;s/\\n/,/g'",
            "one,two,three\n",
        ),
        ("printf 'a\\nb\\nc\\n' | grep -n -v b", "1:a\n3:c\n"),
        ("printf 'a1\\nb22\\n' | grep -oE '[0-9]+'", "1\n22\n"),
        ("printf 'x\\na\\nb\\nc\\n' | grep -A1 -B1 a", "x\na\nb\n"),
        ("echo 'Foo.bar' | grep -ic foo; echo a+b | grep -F 'a+b'", "1\na+b\n"),
        (
            "echo a b c | xargs -n1 echo x; printf 'a b\\nc\\n' | xargs -I{} echo '<{}>'",
            "x a\nx b\nx c\n<a b>\n<c>\n",
        ),
        ("expr 3 + 4 '*' 2; expr abc : 'a\\(.*\\)'; expr 2 '>' 1", "11\nbc\n1\n"),
        ("seq 3 | tac | paste -s -d,", "3,2,1\n"),
        (
            "echo -n abc | sha256sum | cut -c1-8; echo -n abc | md5sum",
            "ba7816bf\n900150983cd24fb0d6963f7d28e17f72  -\n",
        ),
        (
            "yes | head -n 2; echo x | tee /dev/null; basename /a/b.c .c; dirname /a/b",
            "y\ny\nx\nb\n/a\n",
        ),
        (
            "echo aGk= | base64 -d; echo; printf 'a\\tb\\n' | cut -f2; echo abc | fold -w2",
            "hi\nb\nab\nc\n",
        ),
        (
            "date -u -d @0 +%Y-%m-%d; printf 'abc' | wc -c; echo 1 2 | tr ' ' '\\n' | nl | tr -d ' \\t'",
            "1970-01-01\n3\n11\n22\n",
        ),
        (
            "test -f /etc/passwd && /bin/true 2>/dev/null; [ -d / ] && echo dir",
            "dir\n",
        ),
        (
            "printf 'a\\nb\\n' > /tmp/.tb-a.$$; printf 'a\\nc\\n' > /tmp/.tb-b.$$; diff /tmp/.tb-a.$$ /tmp/.tb-b.$$ | tail -n +3; rm /tmp/.tb-?.$$",
            "@@ -1,2 +1,2 @@\n a\n-b\n+c\n",
        ),
        (
            "timeout 0.1 sleep 5; echo $?; time -p true 2>/dev/null; nproc | grep -c .",
            "124\n1\n",
        ),
    ] {
        let (_, out, err) = sh(script);
        assert_eq!(out, expected, "{script}\n{err}");
    }
}

#[test]
fn messages_are_words_and_not_keys_of_a_table() {
    let (status, _, err) = sh("ls /nonexistent");
    assert_eq!(
        (status, err.as_str()),
        (2, "ls: cannot access '/nonexistent': No such file or directory\n")
    );
    let (_, _, err) = sh("cat /nonexistent; rm /nonexistent; grep x /nonexistent");
    assert_eq!(
        err,
        "cat: /nonexistent: No such file or directory\nrm: cannot remove '/nonexistent': No such file or directory\n\
         grep: /nonexistent: No such file or directory\n"
    );
}

#[test]
fn a_reader_that_stops_ends_the_writer() {
    let (status, out, err) =
        sh("yes | head -n 1; seq 100000 | head -n 1; cat /etc/passwd /etc/passwd | head -c 1 >/dev/null");
    assert_eq!((status, out.as_str(), err.as_str()), (0, "y\n1\n", ""));
}

#[test]
fn find_finds() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "mkdir -p a/b && touch a/x.txt a/b/y.txt a/z.log && find . -name '*.txt' && find a -maxdepth 1 -type f ! -name '*.txt' \
                  && find . -type d -empty | wc -l && find . -name '*.txt' -exec echo got {} \\; && find . -type f -print0 | xargs -0 ls \
                  && find . -name '*.log' -delete && find a -type f | sort";
    let output = program("sh")
        .args(["-c", script])
        .current_dir(dir.path())
        .output()
        .expect("sh runs");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        out,
        "./a/b/y.txt\n./a/x.txt\na/z.log\n0\ngot ./a/b/y.txt\ngot ./a/x.txt\n./a/b/y.txt\n./a/x.txt\n./a/z.log\na/b/y.txt\na/x.txt\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn sed_edits_files_in_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("conf");
    std::fs::write(&path, "port=80\nhost=a\n").expect("written");
    let (status, out, _) = feed(program("sed").args(["-i", "s/80/8080/"]).arg(&path), b"");
    assert_eq!((status, out.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "port=8080\nhost=a\n");
}

#[test]
fn processes_are_listed_and_signalled() {
    let (_, out, err) = sh(
        "sleep 321 & pid=$!; ps | grep -q 'sleep 321' && echo listed; ps aux | head -1; pgrep -f 'sleep 32[1]' | grep -c . ; \
                            kill $pid; wait $pid; echo $?; ps -o pid,comm | head -1; top -b -n1 | grep -c 'PID  PPID'",
    );
    assert!(out.starts_with("listed\nUSER"), "{out}{err}");
    assert!(
        out.ends_with("143\nPID COMMAND\n1\n") || out.contains("143\n"),
        "{out}{err}"
    );
}
