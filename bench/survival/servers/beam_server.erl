%% The BEAM's side of `python -m bench survival`, as OTP's documentation would write it: a process for each
%% connection, {active, once} and {packet, line}; a gen_server that counts connections and monitors them; slow consumer
%% and service as gen_servers under a supervisor. With the argument max_heap_size, connections are spawned with that
%% option, #{kill => true}, and consumer and service set it in their init; without it the defaults are in force.
%%
%% A row of 256 bytes is a tuple of four heap binaries of 64 bytes. One binary of 256 would be reference-counted and
%% outside the process's heap, where max_heap_size does not see it unless include_shared_binaries is known, which this
%% sets but OTP 25 ignores.
-module(beam_server).
-behaviour(gen_server). % and, with init(services), a supervisor

-export([start/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(ROW, 256).
-define(PIECE, 4096).
-define(CACHED, 16384).
-define(SLOW, 10).
-define(BUSY, "BUSY try again later\n").

start() ->
    [Variant | Pairs] = init:get_plain_arguments(),
    Options = maps:from_list([{variant, Variant} | [pair(Pair) || Pair <- Pairs]]),
    persistent_term:put(options, Options),
    {ok, _} = supervisor:start_link({local, services}, ?MODULE, services),
    Port = listen(fun connection/1),
    Control = listen(fun control/1),
    io:format("{\"ports\": {\"low\": ~p, \"normal\": ~p, \"high\": ~p}, \"control\": ~p, \"version\": \"OTP ~s\"}~n",
              [Port, Port, Port, Control, erlang:system_info(otp_release)]),
    until_stdin_ends().

pair(Text) ->
    [Name, Value] = string:split(Text, "="),
    {list_to_atom(Name), list_to_integer(Value)}.

option(Name) ->
    maps:get(Name, persistent_term:get(options)).

until_stdin_ends() ->
    case io:get_line("") of
        eof -> halt(0, [{flush, false}]);
        {error, _} -> halt(0, [{flush, false}]);
        _ -> until_stdin_ends()
    end.

%% -- budgets --------------------------------------------------------------------------------------

heap_limit(Bytes) ->
    #{size => Bytes div erlang:system_info(wordsize), kill => true, error_logger => true,
      include_shared_binaries => true}.

budgeted() ->
    option(variant) =:= "max_heap_size".

connection_options() ->
    case budgeted() of
        true -> [{max_heap_size, heap_limit(option(budget))}];
        false -> []
    end.

budget_of_service() ->
    case budgeted() of
        true -> process_flag(max_heap_size, heap_limit(option(service_budget)));
        false -> ok
    end.

%% -- connections ------------------------------------------------------------------------------------

listen(Handler) ->
    {ok, Listening} = gen_tcp:listen(0, [binary, {packet, line}, {active, false}, {ip, {127, 0, 0, 1}},
                                         {reuseaddr, true}, {nodelay, true}, {backlog, 4096}]),
    [spawn_link(fun() -> accept(Listening, Handler) end) || _ <- lists:seq(1, 4)],
    {ok, Port} = inet:port(Listening),
    Port.

accept(Listening, Handler) ->
    case gen_tcp:accept(Listening) of
        {ok, Socket} -> Handler(Socket);
        {error, _} -> timer:sleep(50)
    end,
    accept(Listening, Handler).

connection(Socket) ->
    case gen_server:call(census, admit, infinity) of
        full ->
            gen_tcp:send(Socket, ?BUSY),
            gen_tcp:close(Socket);
        admitted ->
            Serve = fun() -> receive yours -> serve(Socket, []) end end,
            Pid = spawn_opt(Serve, connection_options()),
            gen_server:cast(census, {began, Pid}),
            case gen_tcp:controlling_process(Socket, Pid) of
                ok -> Pid ! yours;
                {error, _} -> exit(Pid, kill)
            end
    end.

serve(Socket, Held) ->
    inet:setopts(Socket, [{active, once}]),
    receive
        {tcp, Socket, Line} ->
            serve(Socket, answer(Socket, Line, Held));
        {tcp_closed, Socket} ->
            ok;
        {tcp_error, Socket, _} ->
            ok
    end.

answer(Socket, <<"ECHO ", _/binary>> = Line, Held) ->
    gen_tcp:send(Socket, Line),
    Held;
answer(Socket, Line, Held) ->
    [Verb, Seq | Arguments] = string:lexemes(Line, " \n"),
    {Result, Now} = do(Verb, Arguments, Held),
    gen_tcp:send(Socket, [Verb, " ", Seq, " ", Result, "\n"]),
    Now.

do(<<"HELLO">>, _, Held) ->
    {"welcome", Held};
do(<<"HOLD">>, [Size], Held) ->
    Now = rows(number(Size) div ?ROW, Held),
    {integer_to_list(length(Now) * ?ROW), Now};
do(<<"KEEP">>, [Size], Held) ->
    Pieces = [binary:copy(<<Number:64>>, ?PIECE div 8) || Number <- lists:seq(1, max(1, number(Size) div ?PIECE))],
    {Size, Pieces ++ Held};
do(<<"DROP">>, [], _) ->
    {"0", []};
do(<<"CACHE">>, [Size], Held) ->
    {integer_to_list(gen_server:call(cache, {fill, number(Size) div ?CACHED}, infinity)), Held};
do(<<"GIANT">>, [Size, <<"loop">>], Held) ->
    {integer_to_list(length(rows(number(Size) div ?ROW, [])) * ?ROW), Held};
do(<<"GIANT">>, [Size, <<"piece">>], Held) ->
    {integer_to_list(byte_size(binary:copy(<<"x">>, number(Size)))), Held};
do(<<"FEED">>, [Count, Size], Held) ->
    Rows = number(Size) div ?ROW,
    [gen_server:cast(sink, {take, rows(Rows, [])}) || _ <- lists:seq(1, number(Count))],
    {Count, Held};
do(<<"DUMP">>, [], Held) ->
    gen_server:cast(service, crash),
    {"told", Held}.

number(Binary) ->
    binary_to_integer(Binary).

rows(0, Held) ->
    Held;
rows(Count, Held) ->
    rows(Count - 1, [row(Count) | Held]).

row(Number) ->
    {part(Number), part(Number), part(Number), part(Number)}.

part(Number) ->
    <<Number:512>>.

%% -- control ----------------------------------------------------------------------------------------

control(Socket) ->
    Pid = spawn(fun() -> receive yours -> tell(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! yours.

tell(Socket) ->
    inet:setopts(Socket, [{active, once}]),
    receive
        {tcp, Socket, Line} ->
            [_, Seq | _] = string:lexemes(Line, " \n"),
            {Connections, Refused, Kills, Restarts} = gen_server:call(census, stats, infinity),
            Format = "STATS ~s {\"connections\": ~p, \"refused\": ~p, \"kills\": ~p, \"restarts\": ~p}~n",
            gen_tcp:send(Socket, io_lib:format(Format, [Seq, Connections, Refused, Kills, Restarts])),
            tell(Socket);
        {tcp_closed, Socket} ->
            ok
    end.

%% -- the supervised: a census of connections, the slow consumer, the service ------------------------

init(services) ->
    Child = fun(Name) ->
                    Start = {gen_server, start_link, [{local, Name}, ?MODULE, Name, []]},
                    #{id => Name, start => Start}
            end,
    {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, [Child(census), Child(cache), Child(sink), Child(service)]}};
init(census) ->
    {ok, #{connections => 0, refused => 0, kills => 0, restarts => -2}};
init(cache) ->
    {ok, {cache, ets:new(cache, [private]), 0}};
init(sink) ->
    budget_of_service(),
    gen_server:cast(census, restarted),
    {ok, sink};
init(service) ->
    budget_of_service(),
    gen_server:cast(census, restarted),
    {ok, {service, rows(option(dump) div ?ROW, [])}}.

handle_call({fill, Count}, _From, {cache, Table, Size}) ->
    [ets:insert(Table, {Number, binary:copy(<<Number:64>>, ?CACHED div 8)})
     || Number <- lists:seq(Size + 1, Size + Count)],
    {reply, Size + Count, {cache, Table, Size + Count}};
handle_call(admit, _From, #{connections := Now, refused := Refused} = State) ->
    case Now >= option(connections) of
        true -> {reply, full, State#{refused := Refused + 1}};
        false -> {reply, admitted, State#{connections := Now + 1}}
    end;
handle_call(stats, _From, #{connections := Now, refused := Refused, kills := Kills, restarts := Restarts} = State) ->
    {reply, {Now, Refused, Kills, Restarts}, State}.

handle_cast({began, Pid}, State) ->
    monitor(process, Pid),
    {noreply, State};
handle_cast(restarted, #{restarts := Restarts} = State) ->
    {noreply, State#{restarts := Restarts + 1}};
handle_cast({take, _Message}, sink) ->
    timer:sleep(?SLOW),
    {noreply, sink};
handle_cast(crash, {service, State}) ->
    error({told_to_crash, length(State)}).

handle_info({'DOWN', _, process, _, Reason}, #{connections := Now, kills := Kills} = State) ->
    Killed = case Reason of killed -> 1; _ -> 0 end,
    {noreply, State#{connections := Now - 1, kills := Kills + Killed}};
handle_info(_, State) ->
    {noreply, State}.
