"""Emergencies and their harmless doubles from a grammar with wide word lists: what teaches that any thing can burn, leak, or be left on.

Each entry is (kinds, text, summary, [(question, answer)]). "(a|b)" picks one, "[x]" keeps x half of the time, {slot} is filled once; utterances
are separated by " | ". It adds words to the written exchanges, which teach how people speak.
"""
import random, re
import household as hh, written as W
from episodes import Episode

L = {
 "who": hh.NAMES + W.MORE_NAMES + ["Mum", "Dad", "Mom", "Grandma", "Grandpa", "Gran", "Nan", "Opa", "Oma", "the baby", "the little one", "my brother", "my sister", "Auntie Jo", "Uncle Joe", "the babysitter", "the neighbor", "the lodger", "your mother", "your father", "my husband", "my wife"],
 "body": "leg arm hip back head ankle wrist knee shoulder hand finger thumb foot elbow neck nose eye chin forehead toe tooth rib".split(),
 "sharp": ["the bread knife", "a broken glass", "the tin lid", "the scissors", "the grater", "a razor", "the saw", "the mower", "a nail", "the cheese slicer", "the hedge trimmer", "a shard of the vase"],
 "fallfrom": ["off the ladder", "down the stairs", "off the step stool", "out of bed", "off the chair", "off the roof", "out of the tree", "down the cellar steps", "over the rug", "over the dog", "in the shower", "in the bath", "on the ice", "off the bunk bed", "off the bike", "out of the wheelchair", "on the wet floor", "off the trampoline", "through the floorboards"],
 "badly": ["(won't|isn't) (wake up|answering|moving|responding)", "can't (breathe|feel one side|move|get up|speak)", "is (unconscious|bleeding everywhere|having a seizure|choking|having a fit|turning blue|clutching the chest|slurring|passing out|burning up with a fever|in terrible pain)", "has (collapsed|fainted|swallowed bleach|stopped breathing|taken too many tablets|been stung and the throat is swelling|been bitten by the dog)", "just (collapsed|fainted|keeled over|dropped to the floor)"],
 "burns": ["curtains", "sofa", "toaster", "frying pan", "chip pan", "oven", "shed", "bin", "tea towel", "Christmas tree", "lampshade", "extension lead", "wardrobe", "carpet", "tumble dryer", "fuse box", "washing line", "duvet", "bookcase", "cooker", "grill", "microwave", "charger", "candle", "tablecloth", "wastepaper basket", "fence", "car", "garage", "roof", "chimney", "hedge", "power strip", "laptop", "blinds", "barbecue", "mattress", "plug socket", "oven glove", "scooter battery"],
 "wet": ["kitchen ceiling", "radiator", "boiler", "pipe under the sink", "washing machine", "dishwasher", "toilet", "bath", "water heater", "fish tank", "cistern", "hose", "skylight", "roof", "basement", "shower", "tap", "stopcock", "water tank", "gutter over the window", "fridge", "water main", "garden hose in the wall", "waste pipe", "bathroom wall", "light fitting", "cellar"],
 "crook": ["(a|some) (man|bloke|guy|stranger|lad) (I've never seen|in a hood|with a torch|in a mask|with a crowbar)", "someone", "somebody", "two (men|lads|guys|people)", "a (burglar|prowler|thief)", "an intruder"],
 "breakin": ["(climbing|coming) (through|in through) the (bathroom|kitchen|back|bedroom|cellar) window", "(trying|rattling|forcing) the (back|patio|garage|cellar|side) door", "(picking|drilling|breaking) the lock", "(creeping|walking) (about|around) downstairs", "(climbing|coming) over the (fence|wall|balcony)", "(in the|inside our) (garden|garage|hallway|house|shed) with a torch", "(smashing|breaking) the (window|glass)", "going through (our drawers|the drawers|the car|the shed)", "(prying|jimmying) the window open", "on the porch roof"],
 "caller": ["the postman", "the neighbor", "the vicar", "the plumber", "the milkman", "the man about the meter", "the nurse", "the cleaner", "a girl selling cookies", "the pizza guy", "a woman with a clipboard", "the doctor", "the taxi driver", "my sister", "the landlord", "the babysitter", "the window cleaner", "a courier", "carol singers", "the kids from next door", "the electrician"] + hh.NAMES[:20],
 "goods": ["parcel", "package", "box of books", "new kettle", "flowers", "groceries", "medicine from the pharmacy", "mattress", "pizza", "shoes", "letter", "envelope", "crate of wine", "bouquet", "lamp", "printer ink", "dog food", "wallpaper", "seeds", "birthday present", "vacuum bags", "suit", "takeaway", "registered letter", "new phone", "bike part", "curtains", "fridge", "shopping", "hamper", "tickets", "contact lenses"],
 "carrier": ["the courier", "the postman", "the mailman", "the driver", "the delivery man", "the delivery girl", "the van", "a lad on a bike", "the supermarket", "the pharmacy", "the shop", "the furniture people", "a messenger", "the parcel service"],
 "med": ["pills", "tablets", "insulin", "eye drops", "heart tablets", "blood thinner", "inhaler", "antibiotic", "water tablet", "thyroid pill", "blood pressure tablets", "statin", "painkillers", "vitamin D", "iron tablets", "cough medicine", "injection", "ear drops", "sleeping pill", "patch", "steroid", "warfarin", "metformin", "capsules", "puffer", "antihistamine", "epilepsy medicine", "hormones", "evening dose", "morning dose", "noon dose"],
 "gadget": ["oven", "hob", "stove", "iron", "heater", "toaster", "straighteners", "grill", "gas", "tap", "shower", "electric blanket", "fan", "slow cooker", "lights in the attic", "garden hose", "coffee machine", "radio", "television", "soldering iron", "fairy lights", "air conditioner", "headlights", "kettle", "sprinkler", "dehumidifier", "hair dryer", "projector", "printer", "bath tap", "fireplace", "waffle iron", "outside light", "engine", "sewing machine"],
 "opening": ["front door", "back door", "garage door", "kitchen window", "fridge", "freezer", "garden gate", "bathroom window", "car window", "trunk", "hamster cage", "rabbit hutch", "chicken run", "skylight", "patio door", "shed", "side gate", "loft hatch", "oven door", "chest freezer", "sunroof", "letterbox", "aviary", "cellar door", "safe", "balcony door", "tent"],
 "room": W.MORE_ROOMS, "time": ["this morning", "yesterday", "last night", "at lunch", "at breakfast", "today", "last week", "before bed", "with dinner", "since Tuesday", "on Monday"],
 "past": ["last year", "years ago", "in the eighties", "when I was a kid", "at our old place", "back in March", "the winter before last", "when we lived in {place}", "on holiday once", "at school", "last summer", "as a student"],
 "place": W.MORE_PLACES, "show": ["film", "movie", "book", "podcast", "series", "play", "game", "news", "documentary", "soap", "song", "crime novel"], "hour": hh.HOURS, "day": hh.DAYS, "p": hh.NAMES + W.MORE_NAMES, "q": hh.NAMES + W.MORE_NAMES, "food": hh.FOODS,
 "else": ["next door", "at number {num}", "across the road", "at the school", "at my sister's", "in {place}", "at work", "at the neighbors'"], "num": W.NUMBERS,
 "oh": ["", "", "", "Oh no. ", "Oh God. ", "Quick. ", "Guys. ", "Hang on. ", "Wait. ", "Listen. ", "Hey. ", "Um. ", "{p}! ", "{p}, ", "Mum! ", "Dad! "],
 "then": ["", "", "", " | What?", " | Where?", " | Are you serious?", " | I'm coming.", " | Oh no.", " | On my way.", " | Since when?", " | Okay, okay."],
 "calm": ["", "", "", " | Okay.", " | Good.", " | Thanks.", " | Did it?", " | Lovely.", " | Ha.", " | Right.", " | If you say so.", " | Nice."],
}

E = [
 # help
 (["help"], "{oh} {who} {badly}![ (Call|Phone|Ring) (an ambulance|999|911|112|the doctor)!]{then}", "{who} needs help.", [("Who needs help?", "{who}.")]),
 (["help"], "{oh} {who} (fell|has fallen|just went|slipped|came) {fallfrom}[ and (can't get up|there's blood|is crying|hurt the {body})].{then}", "{who} fell {fallfrom}.", [("Who fell?", "{who}.")]),
 (["help"], "{oh} I('ve| just) (fallen|fell|slipped|come) {fallfrom}[, I (can't get up|think I broke my {body}|can't move my {body}|hurt my {body})].{then}", "Someone fell {fallfrom}.", []),
 (["help"], "{oh} I('ve| have|) (cut|sliced|gashed|hurt) my {body} (on|with) {sharp}[, (it won't stop bleeding|there's blood everywhere|it's deep)].{then}", "Someone cut their {body} on {sharp}.", [("What did they cut?", "The {body}.")]),
 (["help"], "{oh} (My {body} is bleeding|I think my {body} is broken|I can't feel my {body}|I can't get up|I feel faint|I can't breathe|my chest hurts|I'm stuck in the {room}|I've burned my {body}|something's wrong with my {body}|I need a doctor)[, (please|quick|hurry|someone help me)].{then}", "Someone needs help.", []),
 (["help"], "(Help|Help me|Somebody help|Can somebody come|Please come quick)[, (please|quick|I'm in the {room}|in the {room})](!|.)[ (Help!|Anybody?|Hello?)]", "Someone is calling for help.", []),
 (["help"], "(Call|Phone|Ring|Get) (an ambulance|the doctor|999|911|112|the paramedics)[, (now|quick|please|hurry)](!|.) {who} {badly}.", "{who} needs an ambulance.", []),
 ([], "{who} (fell|slipped|went) {fallfrom} {past}[ and broke a {body}]. (All healed|Fine now|It was funny in the end|We still laugh about it).{calm}", "{who} fell {fallfrom} {past}.", [("Who fell?", "{who}.")]),
 ([], "(In the|That) {show}[ last night][,] (the hero|a woman|the doctor|the old man|the detective) {badly}.{calm}", "", []),
 ([], "(Careful|Mind the step|Hold on to the rail|Slow down), (or you'll fall|you'll hurt yourself|you'll break your {body}|I don't want you falling {fallfrom}).{calm}", "", []),
 ([], "(I'm dying of|I could die of|I'm killed with) (boredom|hunger|laughter|heat|embarrassment).{calm}", "", []),
 ([], "(Can you|Could you|Would somebody|Will you) help me (with my homework|fold the sheets|carry this|find my keys|with the zip|peel these|with the crossword|move the table|set the table|with the {food})[, {p}]?{calm}", "Someone wants help with something small.", []),
 ([], "How's {who}'s {body}[ now]? (Much better|Healing nicely|Nearly right again|The cast comes off {day}), (thanks|thank you|the doctor's pleased).{calm}", "{who}'s {body} is getting better.", []),
 ([], "{who}'s (fine|okay|all right|just asleep|only pretending|just dozing), (false alarm|don't worry|no need for a doctor|nothing happened|not a scratch).{calm}", "{who} is fine.", []),
 ([], "{p} has (a doctor's appointment|a check-up|an X-ray|physio) (on {day}|{day}) at {hour}[, for the {body}].{calm}", "{p} has an appointment {day} at {hour}.", []),
 # fire
 (["fire"], "{oh} (The {burns}'s|The {burns} is|The {burns} has gone|Your {burns} is|That {burns} is) (on fire|burning|in flames|smoking|alight|up in flames|smoldering|pouring smoke|going up)(!|.){then}", "The {burns} is burning.", [("What is burning?", "The {burns}.")]),
 (["fire"], "{oh} (There's|I see|I can see|There are) (smoke|flames|fire|sparks and smoke|black smoke) (coming out of|coming from|behind|under|all over) the {burns}(!|.){then}", "There is smoke or fire at the {burns}.", [("Where is the smoke?", "At the {burns}.")]),
 (["fire"], "{oh} (I smell|Can you smell|I can smell|Do you smell|Is that|Something smells of) (smoke|burning|burnt plastic|something burning)[ (from|in) the {room}](.|?) (It's coming from the {burns}|The {burns}, look|Get out|Everybody out|Where's the extinguisher)(!|.)", "There is a smell of burning.", []),
 (["fire"], "(Fire|Fire, fire|It's burning)! (Everybody out|In the {room}|The {burns}|Get the extinguisher|Wake up)(!|.){then}", "There is a fire.", []),
 (["fire"], "{oh} (The smoke alarm|The fire alarm|The detector)('s| is) (going off|screaming|shrieking|beeping like mad)[ in the {room}](.|!) (There's smoke|It's the {burns}|I can see smoke|Get out)(.|!){then}", "The smoke alarm is going off.", []),
 (["fire"], "(Call|Phone|Ring|Get) the fire (brigade|department|service|engine)[, (now|quick)](!|.) (It's|There's smoke from) the {burns}(!|.)", "The fire brigade is wanted because of the {burns}.", []),
 ([], "(The|Their|Our) {burns} (caught fire|burned down|went up in flames) {past}.{calm}", "The {burns} burned {past}.", []),
 ([], "(In the|That) {show}[,] (the whole house|the castle|the ship|the {burns}|a hotel) (burns down|is on fire|goes up in flames).{calm}", "", []),
 ([], "(Light|Shall I light|Who lit|Did you light) the (fire|stove|candles|barbecue|wood burner|bonfire)[, {p}](.|?) (It's cozy|It's nice and warm now|Lovely|Matches are on the shelf).{calm}", "", []),
 ([], "(You're|They're|She's|He's) on fire (today|tonight|this season), (three goals|ten points|what a game|what a speech).{calm}", "", []),
 ([], "(They|We|The landlord) (test|are testing|tested|checked) the (smoke alarm|fire alarm|sprinklers|extinguishers) (on {day}|{day}|at {hour})[, (just a test|don't panic|it's only a drill)].{calm}", "The alarm is tested.", []),
 ([], "I burned (the toast|the {food}|my tongue|the rice) (again|a bit), (that's all it is|no fire|sorry about the smell|open a window).{calm}", "Something was burned in cooking.", []),
 ([], "(Who got|He got|They) fired {p} {time}.{calm}", "", []),
 ([], "There was a fire {else} {past}, (they got it out|nobody hurt|before our time).{calm}", "There was a fire {else} {past}.", []),
 # leak
 (["leak"], "{oh} The {wet}('s| is) (leaking|dripping|flooding|overflowing|gushing|spraying|pouring water|running over|letting water in)[ (again|everywhere|like mad)](!|.){then}", "The {wet} is leaking.", [("What is leaking?", "The {wet}.")]),
 (["leak"], "{oh} (There's|I've got|We've got) water (all over the floor|everywhere|coming through the ceiling|running down the wall|up to my ankles|pooling|dripping) (in the {room}|from the {wet}|under the {wet})(!|.){then}", "There is water where it should not be.", []),
 (["leak"], "{oh} (The|That) (pipe|hose|tank|boiler|main) (has burst|burst|split|came off|cracked|gave way)[ in the {room}][, (turn the water off|get buckets|get towels|where's the stopcock)](!|.){then}", "A pipe or tank burst.", []),
 (["leak"], "(Get|Bring|Fetch) (towels|a bucket|the mop|the buckets)(, quick|!|.) (The {wet} is leaking|It's coming through the ceiling|The {room} is flooding|There's water everywhere).{then}", "Water is leaking.", []),
 (["leak"], "{oh} (The carpet's|My socks are|The floor's|The wall's) (soaked|wet through|sopping|squelching)[ in the {room}], it's (coming from|running out of|dripping from) the {wet}.{then}", "Water is coming from the {wet}.", []),
 ([], "(The plumber|{p}) fixed the {wet} {time}, (dry as a bone|no more drips|works perfectly|it's all done).{calm}", "The {wet} was fixed.", [("What was fixed?", "The {wet}.")]),
 ([], "(The|Our) {wet} (leaked|flooded|burst) {past}[, (what a mess|cost a fortune|we had to move out)].{calm}", "The {wet} leaked {past}.", []),
 ([], "(Did you|Have you|Can you) (water|watered) the (plants|flowers|tomatoes|garden)[ in the {room}]?{calm}", "", []),
 ([], "(It's pouring|It's raining cats and dogs|What a downpour|It's drizzling) (out there|outside|again).{calm}", "It is raining.", []),
 ([], "(Someone|They|The minister|A mole) leaked (the story|the exam|the trailer|the email|the plans) to the papers.{calm}", "", []),
 ([], "(Run me|I'm running|Shall I run) a bath[, (not too full|nice and warm|it's nearly full)].{calm}", "", []),
 ([], "I spilled (my tea|the milk|some juice|a glass of water)[ (on|over) the (table|sofa|rug)], (I'll wipe it up|all clean now|sorry).{calm}", "Something was spilled.", []),
 ([], "The {wet} (used to leak|is not leaking any more|was only condensation|is dry|might need a new seal one day).{calm}", "", []),
 ([], "There was a flood {else}[, (on the news|terrible|{past})].{calm}", "", []),
 # intruder
 (["intruder"], "{oh} (There's|I see|I can see|I just saw) {crook} {breakin}(!|.)[ (Call|Phone|Ring) the police(!|.)]{then}", "Someone is trying to get in.", [("What did they see?", "Someone trying to get in.")]),
 (["intruder"], "{oh} (I heard|Did you hear|I just heard) (glass|the window|footsteps|the lock|a crash|voices) (breaking|smash|downstairs|in the {room}|being forced)(.|?) (Somebody's in the house|There's someone in here|It's not the cat|Call the police|Lock the bedroom door).{then}", "Someone may be in the house.", []),
 (["intruder"], "(Call|Phone|Ring) (the police|the cops|999|911)[, (now|quick|quietly)](!|.) (There's|It's) {crook} {breakin}.", "The police are called because of an intruder.", []),
 (["intruder"], "(Shh|Shush|Quiet|Don't move|Lights off)[, {p}]. {crook} (is|'s) {breakin}.{then}", "Someone is trying to get in.", []),
 (["intruder"], "{oh} We('ve| have) been (burgled|robbed|broken into)[, the {room} is (turned over|a wreck)], (they might still be here|they took the television|the back door's smashed).{then}", "The house was broken into.", []),
 ([], "(In the|That) {show}[,] {crook} (is|comes|was) {breakin}.{calm}", "", []),
 ([], "(We were|They were|My parents were) (burgled|robbed|broken into) {past}.{calm}", "There was a burglary {past}.", []),
 ([], "(I locked myself out|I forgot my key), so I (climbed in through|came in by) the (kitchen|bathroom|cellar) window.{calm}", "Someone locked themselves out.", []),
 ([], "(There was a|Did you read about the) (burglary|break-in|robbery) {else}[ {time}]?{calm}", "", []),
 ([], "That('s| was)[ only] (the cat|the fox|a hedgehog|the wind|{p} coming home|the neighbor's dog|the boiler), (not a burglar|nobody's there|go back to sleep|you can relax).{calm}", "It was nothing.", []),
 ([], "(The locksmith|The alarm man|{p}) (is coming|comes|fitted new locks) (on {day}|{time}), (just to be safe|for the insurance).{calm}", "", []),
 ([], "(Our|My) (son|daughter|cat|dog) is a (little|proper) (burglar|thief), (stole my sandwich|took the ham|raided the fridge).{calm}", "", []),
 # door
 (["door"], "{oh} (There's someone|Somebody's|Someone's|{caller} is|I think {caller}'s) (at the door|at the front door|on the doorstep|outside|knocking|ringing the bell|at the gate)(.|!)[ (Can you get it|I'll get it|Coming|Let them in)(?|.)]", "Someone is at the door.", []),
 (["door"], "(Ding dong|The bell|The doorbell|Was that the bell|That was the bell|Knock knock|Was that a knock|The buzzer)(.|?)[ (It's|That'll be|Must be) {caller}.][ (I'll go|Get that|Can someone get that|Let me get that)(.|?)]", "Someone rang or knocked.", []),
 (["door"], "(Come in|Hello|Oh hello|Come on in), {caller}[, (wipe your feet|what a surprise|we've been expecting you|lovely to see you)](.|!)", "{caller} came to the door.", [("Who came?", "{caller}.")]),
 (["door"], "(Who is it|Who's there|Hello)? (It's|Only) {caller}[, (open up|can I come in|I've come about the boiler)].", "{caller} is at the door.", [("Who is at the door?", "{caller}.")]),
 ([], "{caller} (came by|rang|knocked|called) {time}[, (you were out|I told them to come back)].{calm}", "{caller} came by {time}.", []),
 ([], "{caller} (is coming|will come|comes) (on {day}|{day}) at {hour}[, (be home|listen for the bell)].{calm}", "{caller} is coming {day} at {hour}.", []),
 ([], "(The doorbell|The bell|The knocker) (needs a new battery|is broken|doesn't work|needs oil).{calm}", "The doorbell does not work.", []),
 ([], "(Close|Paint|Lock|Who scratched|Hold|I painted|Shut) the {opening}[, please].{calm}", "", []),
 ([], "(That was on|It's only|That's) the (TV|telly|radio|film), (nobody's at the door|not our bell|there's nobody there).{calm}", "Nobody is at the door.", []),
 # delivery
 (["delivery"], "{oh} (The {goods} (came|arrived|has come|is here|turned up|got delivered)|Your {goods}'s (here|come|arrived)|There's a {goods} (on the doorstep|for you in the {room}|in the hall|by the door))[ (just now|already|at last|today)](!|.){then}", "The {goods} came.", [("What was delivered?", "The {goods}.")]),
 (["delivery"], "{carrier} (brought|dropped off|left|just delivered|has been with|handed me|put) the {goods}[, it's in the {room}](.|!){then}", "{carrier} brought the {goods}.", [("Who brought the {goods}?", "{carrier}.")]),
 (["delivery"], "(I signed for|I took in|Sign here for|I've put) (your|a|the) {goods}[, {carrier} was just here][, it's in the {room}].{then}", "The {goods} was delivered.", [("What was delivered?", "The {goods}.")]),
 (["delivery"], "(Post's|Mail's|The post is|The mail is) (here|been|come)[, (a {goods} for you|there's a {goods}|{p} got a {goods})].{then}", "The post came.", []),
 ([], "(When does|When is|Is) the {goods} (come|coming|due)? (On {day}|{day}|Not before {day}|They said {hour}).{calm}", "The {goods} is due.", []),
 ([], "I('ve|) ordered (a|the) {goods}[, it (comes|should come) {day}].{calm}", "A {goods} was ordered.", [("What was ordered?", "A {goods}.")]),
 ([], "(Still no|No sign of the|Where is that|They lost the) {goods}[, {carrier} never came](.|?){calm}", "The {goods} has not come.", []),
 ([], "(Can you|Could you|I have to|Don't forget to) (post|send off|take back|return|drop off|collect) the {goods}[ {day}][, {p}].{calm}", "The {goods} has to be sent or fetched.", []),
 ([], "{carrier} (rang|called), they (deliver|bring) the {goods} {day}.{calm}", "The {goods} will be brought {day}.", []),
 ([], "(She|He|The actor|The speaker) delivered (a great speech|the punchline|the baby|a lecture).{calm}", "", []),
 # medicine
 (["medicine"], "{oh} (I|{who}|She|He) (forgot|missed|never took|didn't take|hasn't had|skipped|hasn't taken) (my|the|those|his|her) {med}[ {time}](.|!){then}", "The {med} was not taken.", [("What was not taken?", "The {med}.")]),
 (["medicine"], "Did (you|{who}) (take|have) (your|the) {med}? (No, I forgot|Oh no, I clean forgot|Not since {day}|It slipped my mind|No, they're still in the box|Oh, blast, no).", "The {med} was forgotten.", []),
 (["medicine"], "(The|Your|{who}'s) {med} (is|are) still (in the box|on the table|in the pack|by the bed|lying here)[, (you forgot|nobody took it|it was for {hour})].{then}", "The {med} was not taken.", []),
 (["medicine"], "{who} (went to bed|left|went out|fell asleep) without (the|taking the) {med}.{then}", "{who} did not take the {med}.", [("Who did not take the {med}?", "{who}.")]),
 ([], "(I|{who}|She|He)('ve|) (took|had|already took|swallowed) (my|the) {med} (at {hour}|{time}|with breakfast|an hour ago).{calm}", "The {med} was taken.", [("What was taken?", "The {med}.")]),
 ([], "Did (you|{who}) (take|have) (your|the) {med}? (Yes|Yes, all done|Just now|Of course|An hour ago|Yep, with my tea).{calm}", "The {med} was taken.", []),
 ([], "(Don't forget|Remember|Remind me to take|Set an alarm for) (your|my|the) {med} (at {hour}|tonight|later|before bed).{calm}", "The {med} has to be taken.", []),
 ([], "(We need|Pick up|Fetch|I'm collecting|The doctor changed) (the|more|a new pack of) {med}[ (on {day}|from the pharmacy)].{calm}", "", []),
 ([], "{who} forgot (the keys|my birthday|the milk|the umbrella|to call|the password|to feed the cat).{calm}", "{who} forgot something.", []),
 ([], "(The cat|The dog|The rabbit) (had|got|took) the {med}[ (at {hour}|{time})].{calm}", "", []),
 # left on
 (["left_on"], "{oh} (Who left|You left|I left|I think I left|{who} left|Somebody left|Did I leave|We left) the {gadget} (on|running)[ (all night|again|and we're out|when we went)](!|.){then}", "The {gadget} was left on.", [("What was left on?", "The {gadget}.")]),
 (["left_on"], "{oh} (Who left|You left|I left|{who} left|Somebody left|We left) the {opening} (open|wide open|unlocked|ajar)[ (all night|again|and it's freezing)](!|.){then}", "The {opening} was left open.", [("What was left open?", "The {opening}.")]),
 (["left_on"], "{oh} The {gadget}('s| is|'s been) still (on|running|going)[ and nobody's (using it|in the {room}|home)][, (turn it off|switch it off|who was that)](.|!){then}", "The {gadget} is still on.", [("What is still on?", "The {gadget}.")]),
 (["left_on"], "{oh} The {opening}('s| is|'s been|was) (open|wide open|not shut) (all night|since {time}|the whole time|and it's raining in|and everyone's out)[, (shut it|close it|who was last out)](.|!){then}", "The {opening} was left open.", [("What was left open?", "The {opening}.")]),
 (["left_on"], "I (forgot|never remembered|didn't remember) to (turn off the {gadget}|switch the {gadget} off|close the {opening}|shut the {opening}|lock the {opening})(.|!){then}", "Something was left on or open.", []),
 ([], "(Turn|Switch|Put) the {gadget} on[, (would you|please|{p}|it's {hour})].{calm}", "", []),
 ([], "(Did you|Have you) (turn|switched) off the {gadget}? (Yes|I did|Yes, I checked twice|Of course|Off and unplugged).{calm}", "The {gadget} is off.", []),
 ([], "(Is|Was) the {opening} (shut|closed|locked)? (Yes|It is|I locked it myself|Yes, I checked).{calm}", "The {opening} is shut.", []),
 ([], "(Leave|Keep|You can leave) the {gadget} on, (I'm still using it|I need it|it's on purpose|the {food}'s in there).{calm}", "The {gadget} stays on.", []),
 ([], "(Open|Leave|Keep) the {opening}[ open], (it's lovely out|I want some air|I'm just bringing the bags in|it's for the cat).{calm}", "", []),
 ([], "(We need|I bought|I'd like|They repaired) a new {gadget}[ (on {day}|{time})].{calm}", "", []),
 ([], "(I closed|I shut|{p} locked|I've locked) the {opening}[ (at {hour}|before bed)].{calm}", "The {opening} is shut.", []),
]


def one(entry):
    kinds, text, summary, facts = entry
    def make(rng):
        v = {}
        def value(k):
            if k not in v: v[k] = hh.expand(re.sub(r"{(\w+)}", lambda m: value(m.group(1)), rng.choice(L[k])), rng)
            return v[k]
        put = lambda s: re.sub(r"{(\w+)}", lambda m: value(m.group(1)), s)
        t = put(hh.expand(text, rng)).replace("  ", " ").replace(" ,", ",").replace(" .", ".")
        low = t.lower(); good = lambda s: all(x.lower() in low for k, x in v.items() if "{" + k + "}" in s)
        facts2 = [(hh.sentence_case(put(q)), hh.sentence_case(put(a))) for q, a in facts]
        s = put(summary)
        return Episode([hh.sentence_case(u.strip()) for u in t.split("|")], list(kinds), hh.sentence_case(s) if good(summary) else "", [f for (q, a), f in zip(facts, facts2) if good(a) and good(q)], source="phrases")
    return make


class Drawn:
    def __init__(self): self.makers = [one(e) for e in E]
    def draw(self): return random.choice(self.makers)


def deck(): return Drawn()


if __name__ == "__main__":
    rng = random.Random(2)
    for e in E:
        for _ in range(1):
            x = one(e)(rng); print(x.kinds, " | ".join(x.parts), "//", x.summary, x.facts)
