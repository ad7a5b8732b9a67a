//! The shell as scripts and entry points use it.

use super::{feed, outcome, program, sh};

#[test]
fn scripts_mean_what_posix_says() {
    for (script, expected) in [
        (
            "x='a b'; for i in $x \"$x\" '$x'; do echo \"<$i>\"; done",
            "<a>\n<b>\n<a b>\n<$x>\n",
        ),
        (
            "f() { local y=5; echo $1 $# $y; return 3; }; f a b || echo $?",
            "a 2 5\n3\n",
        ),
        (
            "echo $((1+2*3)) $(( (1<<4) | 3 )) $((x=5, x*2)) $x $((x>3?1:0))",
            "7 19 10 5 1\n",
        ),
        ("case abc in a*) echo star;; *) echo none;; esac", "star\n"),
        (
            "case x in a|x) echo two;; esac; case y in (y) echo paren; esac",
            "two\nparen\n",
        ),
        (
            "y=file.tar.gz; echo ${y%.gz} ${y%%.*} ${y#*.} ${y##*.} ${#y} ${z:-def} ${z:+no}",
            "file.tar file tar.gz gz 11 def\n",
        ),
        (
            "i=0; while [ $i -lt 4 ]; do i=$((i+1)); [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done",
            "1\n3\n",
        ),
        ("(exit 7); echo $?", "7\n"),
        ("echo a b c | while read p q; do echo $q-$p; done", "b c-a\n"),
        ("trap 'echo bye' EXIT; echo hi", "hi\nbye\n"),
        (
            "set -- a 'b c'; echo $#; for i; do echo \"[$i]\"; done; shift; echo \"$@\"",
            "2\n[a]\n[b c]\nb c\n",
        ),
        ("cat <<EOF\n$((1+1)) `echo b` \\$x\nEOF\n", "2 b $x\n"),
        ("cat <<'EOF'\n$x `y`\nEOF\n", "$x `y`\n"),
        ("cat <<-EOF\n\ttab\n\tEOF\n", "tab\n"),
        ("{ echo out; echo err >&2; } 2>&1 | sort", "err\nout\n"),
        (
            "echo $(echo nested $(echo deep)) `echo \\`echo old\\``",
            "nested deep old\n",
        ),
        ("IFS=:; set -- $(echo a:b::c); echo $#", "4\n"),
        ("a=1; a=2 sh -c 'echo $a'; echo $a", "2\n1\n"),
        ("unset x; echo ${x-unset} ${x=set} $x", "unset set set\n"),
        (
            "if ! false; then echo yes; elif true; then echo no; else echo no; fi",
            "yes\n",
        ),
        ("until [ \"$n\" = xxx ]; do n=x$n; done; echo $n", "xxx\n"),
        (
            "for f in /etc/pass*d; do echo $f; done; echo '*' \"/etc/pass*\"",
            "/etc/passwd\n* /etc/pass*\n",
        ),
        ("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008\n"),
        ("eval 'echo $((2*3))'; x='echo via'; $x var", "6\nvia var\n"),
        ("exec 3>&1; echo three >&3; exec 3>&-", "three\n"),
        ("f() { f2; }; f2() { return 4; }; f; echo $?", "4\n"),
        ("while :; do while :; do break 2; done; done; echo out", "out\n"),
        (
            "getopts ab:c o -a -b val -c; echo $o; getopts ab:c o -a -b val; echo $o $OPTARG",
            "a\nb val\n",
        ),
        ("echo a; # comment\necho b \\\n c", "a\nb c\n"),
        ("alias hi='echo hello'\nhi there", "hello there\n"),
        ("x=5; (x=6); echo $x; { x=7; }; echo $x", "5\n7\n"),
        ("echo \"a\\\"b\" 'c'\"d\"e", "a\"b cde\n"),
        ("set -f; echo *; set +f", "*\n"),
        (
            "command -v echo; type cd; command -v nothing || echo none",
            "echo\ncd is a shell builtin\nnone\n",
        ),
        (
            "test 1 -lt 2 -a ! -d /nope && echo yes; [ a = b ] || echo no",
            "yes\nno\n",
        ),
        ("read a b <<EOF\n1 2 3\nEOF\necho $b", "2 3\n"),
        ("echo ~/x; echo a~", "//x\na~\n"),
        ("umask 027; umask; cd /; pwd; cd - >/dev/null", "0027\n/\n"),
    ] {
        let (_, out, err) = sh(script);
        let expected = expected.replace("//x", "/x");
        assert_eq!(out, expected, "{script}\n{err}");
    }
}

#[test]
fn bash_knows_its_everyday_extensions() {
    for (script, expected) in [
        (
            "echo {1..3} {a,b}x pre{1,2}post {01..03}",
            "1 2 3 ax bx pre1post pre2post 01 02 03\n",
        ),
        ("[[ abc == a* && 5 -gt 3 && ! x == y ]] && echo yes", "yes\n"),
        ("[[ foo123 =~ ^[a-z]+([0-9]+)$ ]] && echo match", "match\n"),
        (
            "x=hello; echo ${x^^} ${x:1:3} ${x/l/L} ${x//l/L} ${x: -2}",
            "HELLO ell heLlo heLLo lo\n",
        ),
        (
            "for ((i=0; i<3; i++)); do echo -n $i; done; (( 3 > 2 )) && echo ok",
            "012ok\n",
        ),
        ("cat <<< \"here $((1+1))\"", "here 2\n"),
        ("function g { echo g$1; }; g 1; echo $'a\\tb'", "g1\na\tb\n"),
        ("x=1; x+=2; ((x++)); echo $x", "13\n"),
        ("echo both &> /dev/null; source /dev/null && echo sourced", "sourced\n"),
    ] {
        let (_, out, err) = outcome(program("bash").args(["-c", script]).output().expect("bash runs"));
        assert_eq!(out, expected, "{script}\n{err}");
    }
}

#[test]
fn statuses_and_errors_are_those_of_ash() {
    for (script, status, error) in [
        ("exit 42", 42, ""),
        ("nosuch", 127, "sh: nosuch: not found\n"),
        ("/etc/passwd", 126, "sh: /etc/passwd: Permission denied\n"),
        ("/etc", 126, "sh: /etc: Is a directory\n"),
        ("set -e; false; echo no", 1, ""),
        ("set -e; if false; then :; fi; false || true; ! true; exit 9", 9, ""),
        ("set -o pipefail; false | true", 1, ""),
        ("false | true", 0, ""),
        ("set -u; echo $x", 2, "sh: x: parameter not set\n"),
        ("echo ${x:?gone}", 2, "sh: x: gone\n"),
        ("if true; then", 2, "sh: syntax error: unexpected end of file\n"),
        ("echo )", 2, "sh: syntax error: unexpected \")\"\n"),
        ("readonly r=1; r=2", 2, "sh: r: is read only\n"),
        ("echo $((1/0))", 2, "sh: divide by zero\n"),
        ("cat < /nope", 1, "sh: can't open /nope: No such file or directory\n"),
        ("kill -9 $$", 137, ""),
        ("sh -c 'exit 3'", 3, ""),
        ("f() { f; }; f", 2, "sh: maximum function recursion depth reached\n"),
    ] {
        let (code, _, err) = sh(script);
        assert_eq!((code, err.as_str()), (status, error), "{script}");
    }
    let deep = format!("{}true{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(sh(&deep).0, 2);
}

#[test]
fn traps_and_waits_work_as_entry_points_need_them() {
    // The usual entry point: pass TERM on to the child, and wait for it.
    let script = "trap 'echo stopping; kill $child; wait $child; echo child $?; exit 5' TERM\n\
                  sleep 100 & child=$!\n(sleep 0.2; kill -TERM $$) &\nwait $child";
    let (status, out, _) = sh(script);
    assert_eq!((status, out.as_str()), (5, "stopping\nchild 143\n"));
    let (status, out, _) = sh("trap 'echo got; exit 3' TERM; (sleep 0.2; kill $$) & while true; do sleep 0.05; done");
    assert_eq!((status, out.as_str()), (3, "got\n"));
    let (status, out, _) = sh("trap '' TERM; kill $$; echo still; trap - TERM; kill $$; echo gone");
    assert_eq!((status, out.as_str()), (143, "still\n"));
    let (_, out, _) = sh("sleep 0.1 & a=$!; (exit 4) & b=$!; wait $b; echo $?; wait $a; echo $?; wait; jobs");
    assert_eq!(out, "4\n0\n");
    let (_, out, _) = sh("for i in 1 2 3; do (echo $i; exit $i) & done; wait; echo all | tr a-z A-Z");
    assert_eq!(out.lines().last(), Some("ALL"));
}

#[test]
fn a_single_command_replaces_the_shell() {
    let (_, out, _) = sh("exec sh -c 'echo $$' ");
    let (_, direct, _) = outcome(
        program("sh")
            .args(["-c", "sh -c 'echo $PPID'"])
            .output()
            .expect("sh runs"),
    );
    assert!(out.trim().parse::<u32>().is_ok());
    assert_eq!(
        direct.trim(),
        std::process::id().to_string(),
        "no shell stays between the command and its parent"
    );
}

#[test]
fn commands_from_standard_input_share_it() {
    let (status, out, _) = feed(
        &mut program("sh"),
        b"echo one\nread x\nthis is data\necho \"x=$x\"\ncat\nrest of\nthe input\n",
    );
    assert_eq!((status, out.as_str()), (0, "one\nx=this is data\nrest of\nthe input\n"));
    let (status, out, _) = feed(
        program("sh").arg("-s").args(["a", "b"]),
        b"for i; do\necho $i\ndone\nexit 3",
    );
    assert_eq!((status, out.as_str()), (3, "a\nb\n"));
}

#[test]
fn scripts_run_by_their_first_line_or_without_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        path
    };
    let interpreter = super::programs().join("sh");
    let with = write(
        "with",
        &format!("#!{}\necho with $1 $0\nnosuch\n", interpreter.display()),
    );
    let without = write("without", "echo without $1\n");
    let (status, out, err) = sh(&format!("{} x; {} y", with.display(), without.display()));
    assert_eq!(status, 0);
    assert_eq!(out, format!("with x {}\nwithout y\n", with.display()));
    assert_eq!(err, format!("{}: line 3: nosuch: not found\n", with.display()));
}
